"""Four runs that need the same missing stage start at once: it is made once, also when its owner is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests import warm

pytestmark = pytest.mark.slow

STEPS = {"sft": 6, "dpo": 2}
RUNS = 4
SMALL = ("dataset.sample_size=64", "evaluation=none", "log.every=1", "log.progress=false", "hardware.device=cpu")
AFTER = f"after=[method=sft,method.max_steps={STEPS['sft']},method.batch_size=4,method.micro_batch_size=4,seed=0]"


class Arms:
    """Processes of DPO runs that differ in their seed."""

    def __init__(self, folder: Path):
        self.folder, self.processes = folder, {}

    def start(self, number: int) -> None:
        own = ("model=blank", "model.layers=1", "method=dpo", "dataset=ultrafeedback", f"seed={number}", AFTER)
        steps = (f"method.max_steps={STEPS['dpo']}", "method.batch_size=4", "method.micro_batch_size=4")
        asked = [*own, *steps, *SMALL, "checkpoint.every=1", f"run_dir={self.folder / str(number)}"]
        store = {"RLPIPE_STORE": str(self.folder / "store")}
        self.processes[number] = warm.Process("rlpipe", *asked, cwd=self.folder, env=store)

    def wait(self) -> None:
        for process in self.processes.values():
            assert process.wait() == 0, process.stderr[-3000:]

    @property
    def stage(self) -> Path | None:
        return next((self.folder / "store").glob("sft-*"), None)


def executed(run: Path) -> int:
    """Count the steps that all attempts of a run have made, as their records say."""
    attempts = json.loads((run / "manifest.json").read_text())["attempts"]
    return sum(one["steps"] - one.get("resumed_from", 0) for one in attempts if "steps" in one)


def logged(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def arms(tmp_path):
    arms = Arms(tmp_path)
    yield arms
    for process in arms.processes.values():
        if process.poll() is None:
            process.kill()


def test_the_stage_is_made_once(arms, tmp_path):
    for number in range(RUNS):
        arms.start(number)
    arms.wait()
    assert len(list((tmp_path / "store").glob("sft-*"))) == 1
    total = executed(arms.stage) + sum(executed(tmp_path / str(number)) for number in range(RUNS))
    assert total == STEPS["sft"] + RUNS * STEPS["dpo"]
    assert len(json.loads((arms.stage / "manifest.json").read_text())["attempts"]) == 1
    said = [process.stdout + process.stderr for process in arms.processes.values()]
    assert sum(f"built {arms.stage.name}" in text for text in said) == 1
    parents = [json.loads((tmp_path / str(number) / "manifest.json").read_text())["parents"] for number in range(RUNS)]
    assert parents == [parents[0]] * RUNS


def test_when_its_owner_is_killed_half_way_another_goes_on(arms, tmp_path):
    for number in range(RUNS):
        arms.start(number)
    deadline = time.monotonic() + 300
    while arms.stage is None or not (arms.stage / "checkpoints" / "checkpoint-2" / "whole.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    owner = json.loads((arms.stage / "manifest.json").read_text())["attempts"][0]["pid"]
    os.kill(owner, signal.SIGKILL)
    [killed] = [number for number, process in arms.processes.items() if process.pid == owner]
    assert arms.processes[killed].wait() == -signal.SIGKILL
    arms.start(killed)
    arms.wait()
    first, second = json.loads((arms.stage / "manifest.json").read_text())["attempts"]
    assert first["outcome"] == "killed"
    assert first["pid"] != second["pid"]
    assert second["resumed_from"] >= 2
    assert second["steps"] == STEPS["sft"]
    assert logged(arms.stage) == list(range(1, STEPS["sft"] + 1))
    for number in range(RUNS):
        assert logged(tmp_path / str(number)) == list(range(1, STEPS["dpo"] + 1))
        assert executed(tmp_path / str(number)) == STEPS["dpo"]
