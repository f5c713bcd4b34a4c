"""Runs, a store and a sweep that rlpipe wrote when its classes stood in other modules: all are still read and go on.

The archive holds two runs (`runs/done`, `runs/killed`), the store with the stage that they start from, and a sweep
whose arm 0 is done and whose arm 1 was killed after its second of six steps. Their paths are absolute, in pickles too.
"""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from rlpipe.records.sweep import Ended, Sweep
from rlpipe.sweep.extend import OURS
from rlpipe.sweep.pickles import current
from tests import warm

ARCHIVE = Path(__file__).with_name("written_before_the_house.tar.xz")
WRITTEN_IN = b"rlpipe_00000000"
STAGE = "sft-ultrafeedback-441d432c9592"
UNDISTURBED = {"after/preference/margin": -2.924489418665568, "after/preference/reward_margin": 0.060259739557902016}
"""What six steps end with, two of them made by the version that wrote the archive. It left out the smaller batch at an
epoch's end, which is the last of the six: with it, an undisturbed run ended with -2.9262 and 0.0598."""

pytestmark = pytest.mark.slow

Run = Callable[..., str]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unpack the archive into a folder whose name is as long as the one that it was written in."""
    place = Path(tempfile.mkdtemp(dir="/tmp", prefix="rlpipe_"))
    assert len(place.name) == len(WRITTEN_IN)
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(place, filter="data")
    for file in (place / WRITTEN_IN.decode()).rglob("*"):
        if file.is_file() and WRITTEN_IN in (written := file.read_bytes()):
            file.write_bytes(written.replace(WRITTEN_IN, place.name.encode()))
    for part in (place / WRITTEN_IN.decode()).iterdir():
        part.rename(place / part.name)
    yield place
    rmtree(place)


@pytest.fixture
def run(folder: Path) -> Run:
    """Run a command of rlpipe in the folder and return what it prints; it must end with `code`."""

    def go(*argv: str, code: int = 0) -> str:
        done = warm.run("rlpipe", *argv, cwd=folder, env={"RLPIPE_STORE": str(folder / "store")})
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return go


def result(run_dir: Path) -> dict:
    return json.loads((run_dir / "result.json").read_text())


def assert_undisturbed(run_dir: Path) -> None:
    """Assert that a run that was killed after two steps ended as one that was not."""
    ended = result(run_dir)
    assert (ended["status"], ended["cost"]["steps"]) == ("ok", 6)
    assert {name: ended["metrics"][name] for name in UNDISTURBED} == pytest.approx(UNDISTURBED, rel=1e-4)
    steps = [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert sorted({step for step in steps if step}) == [1, 2, 3, 4, 5, 6]


def test_a_frozen_arm_runs_and_ends_like_an_undisturbed_one(folder: Path, run: Run) -> None:
    shown = run("sweep", "multirun/sweep")
    assert "1 done" in shown
    assert "1 failed" in shown
    said = run("sweep", "multirun/sweep", "resume", "--wait")
    assert "submitted again: 1" in said
    sweep = Sweep.load(folder / "multirun" / "sweep")
    assert [sweep.outcome(arm).ended for arm in sweep.arms] == [Ended.ok, Ended.ok]
    assert [sweep.outcome(arm).attempt for arm in sweep.arms] == [1, 2]
    assert_undisturbed(folder / "multirun" / "sweep" / "1")


def test_a_sweep_takes_further_arms(folder: Path, run: Run) -> None:
    # The packages that name a stage have grown, so the new arm's stage is built first.
    assert re.search(
        r"handed over: sft-ultrafeedback-\w+.*, 2",
        run("sweep", "multirun/sweep", "add", "method.max_steps=3", "--wait", code=1),
    )
    assert result(folder / "multirun" / "sweep" / "2")["status"] == "ok"


def test_a_killed_run_goes_on_by_its_own_command(folder: Path, run: Run) -> None:
    manifest = json.loads((folder / "runs" / "killed" / "manifest.json").read_text())
    run(*manifest["overrides"])
    assert_undisturbed(folder / "runs" / "killed")


def test_a_report_compares_the_runs(folder: Path, run: Run) -> None:
    run("report", "runs/done", "multirun/sweep", "--output", "told.json", "--output", "told.html")
    told = (folder / "told.json").read_text()
    assert "runs/done" in told


def test_a_stage_is_listed_and_verified_and_why_it_is_not_reused_is_said(folder: Path, run: Run) -> None:
    assert STAGE in run("stages", "list")
    assert "1 of 1 stages are whole" in run("stages", "verify")
    manifest = json.loads((folder / "runs" / "killed" / "manifest.json").read_text())
    overrides = [one for one in manifest["overrides"] if not one.startswith("run_dir=")]
    said = run("stages", "explain", *overrides)
    assert f"the nearest one that is stored, {STAGE}" in said
    assert "package numpy: None →" in said


def test_a_task_is_known_by_its_old_name() -> None:
    assert (current("rlpipe.cli", "task"), "task") == OURS
