"""What is rehearsed is what runs."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.singleton import Singleton

from rlpipe.cli import main as cli
from rlpipe.config import compose
from rlpipe.config.compose import to_plain
from rlpipe.config.schema import RunConfig
from rlpipe.core.paths import conf_dir
from rlpipe.records.provenance import plain
from rlpipe.records.sweep import Ended, Sweep
from rlpipe.stages.lineage import start_parent
from rlpipe.sweep import freeze as module
from rlpipe.sweep.discovery import register
from tests import warm
from tests.sweep.test_pickles import NAMES

pytestmark = pytest.mark.slow

SMALL = ("model=blank", "dataset.sample_size=32", "method.max_steps=2", "evaluation=none", "hardware.device=cpu")


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Freeze the sweep of a command line without submitting it."""
    from rlpipe.launchers.local.launcher import LocalLauncher

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(LocalLauncher, "submit", lambda self, jobs: None)

    def go(*argv: str) -> Sweep:
        command = ["-m", *argv, *SMALL, "hydra.sweep.dir=sweep", "hydra.launcher.wait=false"]
        assert cli.status(command) == 0
        return Sweep.load("sweep")

    register()
    state = Singleton.get_state()
    yield go
    Singleton.set_state(state)


def read(sweep: Sweep, key: str) -> Any:
    return pickle.loads((sweep.folder / ".launch" / key / "job.pkl").read_bytes())


def run_of(sweep: Sweep, key: str) -> RunConfig:
    """Return the typed config of a frozen arm."""
    return compose.typed(read(sweep, key).config)


def test_each_arms_config_is_kept_as_its_record_will_keep_it(frozen) -> None:
    sweep = frozen("method=dpo,orpo", "seed=0,1")
    for arm in sweep.arms:
        config = yaml.safe_load(sweep.frozen_config(arm).read_text())
        assert (config["method"]["name"], config["seed"]) == (arm.fields["method"], int(arm.fields["seed"]))
        assert plain(to_plain(run_of(sweep, arm.key))) == config


def test_what_a_run_needs_is_composed_from_the_options_as_they_were(
    frozen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "options"
    (folder / "after").mkdir(parents=True)
    option = folder / "after" / "mine.yaml"
    text = "# @package _global_\nafter: [method=sft, method.max_steps=1, method.learning_rate={rate}]\n"
    option.write_text(text.format(rate="1e-4"))
    sweep = frozen("--config-dir", str(folder), "seed=0,1", "after=mine")
    option.write_text(text.format(rate="9e-4"))
    before = dict(compose.known)
    monkeypatch.setattr(compose, "compose_raw", None)  # nothing is composed any more
    module._load(read(sweep, "0").app)
    parent = start_parent(run_of(sweep, "0"))
    compose.known.clear()
    compose.known.update(before)
    assert parent is not None
    assert parent.method.learning_rate == 1e-4


def test_stages_that_are_there_are_no_jobs(frozen, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlpipe.stages import store

    monkeypatch.setattr(store, "is_built", lambda stage: True)
    sweep = frozen("seed=0,1", "after=[method=sft]")
    assert [job.key for job in sweep.jobs] == ["0", "1"]
    assert [arm.needs for arm in sweep.arms] == [(), ()]


def test_the_store_is_that_of_the_shell_that_began_the_sweep(frozen, tmp_path: Path, monkeypatch) -> None:
    """A sweep that is gone on with from a shell with another store must not build its stages anew there."""
    from rlpipe.stages.fingerprint import describe

    sweep = frozen("seed=0,1", "after=[method=sft]")
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "another"))
    stage = next(job for job in sweep.jobs if job.key not in ("0", "1"))
    assert sweep.data["store"] == str(tmp_path / "store")
    assert {run_of(sweep, key).store for key in ("0", "1")} == {str(tmp_path / "store")}
    assert describe(read(sweep, stage.key).config).folder == Path(stage.run_dir) == tmp_path / "store" / stage.key
    parent = start_parent(run_of(sweep, "0"))
    assert parent is not None
    assert describe(parent).folder == Path(stage.run_dir)


def test_a_job_knows_which_files_and_stages_of_this_machine_it_reads(frozen, tmp_path: Path, monkeypatch) -> None:
    from rlpipe.stages import store

    (tmp_path / "rows.jsonl").write_text("".join(f'{{"prompt": "{one}", "completion": "b"}}\n' for one in range(48)))
    (tmp_path / "sft").mkdir()  # what only has the name of something else is left here
    monkeypatch.setattr(store, "is_built", lambda stage: stage.config.method.max_steps == 2)
    rows = "dataset=files,dataset.source=rows.jsonl"
    first = f"after=[method=sft,{rows},method.max_steps=2]"
    sweep = frozen("method=sft", *rows.split(","), "seed=0", f"after=[method=sft,{rows},method.max_steps=1,{first}]")
    stage, arm = Sweep.load(sweep.folder).jobs
    (built,) = {one for one in arm.reads if one.startswith(str(tmp_path / "store"))}
    assert set(arm.reads) == set(stage.reads) == {str(tmp_path / "rows.jsonl"), built}
    assert arm.needs == (stage.key,)
    assert not built.endswith(stage.key)


def test_all_arms_share_what_is_large(frozen) -> None:
    sweep = frozen("seed=range(0,4)")
    assert len(list((sweep.folder / ".launch").glob("app-*.pkl"))) == 1
    assert max((sweep.job_folder(arm) / "job.pkl").stat().st_size for arm in sweep.arms) < 200_000


@pytest.mark.slow
def test_editing_options_while_jobs_wait_changes_nothing(frozen, tmp_path: Path) -> None:
    """Run a frozen arm, and the stage that it needs, after every option was damaged."""
    copied = tmp_path / "conf"
    shutil.copytree(conf_dir(), copied)
    sweep = frozen(f"--config-path={copied}", "seed=3", "after=[method=sft,method.max_steps=1]", "method.batch_size=8")
    for file in copied.rglob("*.yaml"):
        file.write_text("damaged: [")
    for job in sweep.jobs:
        done = warm.run("rlpipe.sweep.job", str(sweep.job_folder(job)), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert sweep.outcome(job).ended is Ended.ok
    assert (sweep.folder / "0" / "result.json").is_file()


def test_what_frozen_jobs_name_is_written_down(frozen) -> None:
    """So that who moves a class later finds that jobs which name it are about."""
    named = set()

    class Noting(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            named.add((module, name))
            return super().find_class(module, name)

    sweep = frozen("method=dpo", "seed=0,1", "after=sft")
    for file in (sweep.folder / ".launch").rglob("*.pkl"):
        with open(file, "rb") as opened:
            Noting(opened).load()
    ours = {f"{module} {name}" for module, name in named if module.split(".")[0] == "rlpipe"}
    assert "rlpipe.sweep.freeze StageWork" in ours
    new = sorted(ours - set(NAMES.read_text().splitlines()))
    assert not new, f"add to {NAMES.name}:\n" + "\n".join(new)
