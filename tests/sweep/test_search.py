"""A search from the command line, with a place that only pretends, and with runs on this machine."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from rlpipe.cli import exits
from rlpipe.cli import main as cli
from rlpipe.cli import sweep as commands
from rlpipe.config.launchers import TpeConfig
from rlpipe.config.plugins import Plugin, table
from rlpipe.core.errors import LaunchError
from rlpipe.records.sweep import Ended, Job, Sweep
from rlpipe.sweep import code, launching, search
from rlpipe.sweep.criterion import KEPT
from rlpipe.sweep.job import execute
from tests.sweep.test_launcher import Pretending, launch

WATCHED = ("watch.every=1", "watch.metric=preference/score", "evaluation=preference")
SEARCH = (
    *("hydra/sweeper=tpe", "hydra.sweeper.trials=3", "hydra.sweeper.batch=2", "method=dpo,simpo"),
    *("method.learning_rate=tag(log,interval(1e-6,1e-2))", 'method.gamma_ratio=tag("method=simpo",interval(0.3,1.5))'),
)


class Measuring(Pretending):
    """Arms that are best at a rate of 10⁻⁴."""

    def submit(self, jobs: Sequence[Job]) -> None:
        super().submit(jobs)
        for job in jobs:
            file = Path(job.run_dir, "result.json")
            value = -abs(math.log10(float(job.fields["method.learning_rate"])) + 4)
            file.write_text(json.dumps(json.loads(file.read_text()) | {"metrics": {KEPT: value}}))


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Measuring]:
    pytest.importorskip("optuna", "5")
    from rlpipe.sweep import driver

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(Pretending, "submitted", [])
    monkeypatch.setattr(Pretending, "found", [])
    monkeypatch.setitem(table()["launcher"], "local", Plugin("launcher", "local", "tests", Measuring))
    monkeypatch.setattr(launching, "launcher_of", Measuring)
    monkeypatch.setattr(commands, "launcher_of", Measuring)
    monkeypatch.setattr(search, "report", lambda sweep, standings: True)
    monkeypatch.setattr(driver, "INTERVAL", 0.0)
    return Measuring


@pytest.mark.slow
def test_all_that_is_wrong_is_said_before_anything_starts(place, capsys, tmp_path: Path) -> None:
    wrong = ("method.learning_rate=interval(-1,1e-3)", "method.beta=tag(odd,interval(0,1))", "method=dpo")
    assert launch("hydra/sweeper=tpe", *wrong, "hydra.sweeper.rungs=[2]", "hydra.launcher.wait=false") == exits.FIXABLE
    said = capsys.readouterr().err
    for words in (
        *("the tag 'odd'", "hydra.sweeper.rungs", "hydra.sweeper.batch", "nobody would wait", "watch.metric"),
        "method.learning_rate (arm 0 of 2): -1.0 is out of range",
    ):
        assert words in said, words
    assert place.submitted == []
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_search_runs_is_killed_goes_on_and_is_confirmed(place, capsys, monkeypatch, tmp_path: Path) -> None:
    from rlpipe.sweep.trials import Trials

    def killed(self: Trials, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(Trials, "tell", killed)
        assert launch(*SEARCH, *WATCHED) == exits.INTERRUPTED
    said = capsys.readouterr().err
    assert "search: 3 settings, 2 at once, for the best preference/score on watched rows (more is better)" in said
    assert "method.gamma_ratio: 0.3 to 1.5  (where method=simpo)" in said
    assert f"rlpipe sweep {tmp_path}/sweep resume" in said
    assert cli.status(["sweep", "sweep", "resume", "--trials", "4"]) == exits.DONE
    assert place.submitted == [["0", "1"], ["2", "3"]]
    sweep = Sweep.load("sweep")
    assert sweep.data["hydra_overrides"][-1] == "hydra.sweeper.trials=4"
    assert all((arm.fields["method"] == "simpo") == ("method.gamma_ratio" in arm.fields) for arm in sweep.arms)
    assert "the best of 4 settings by preference/score on watched rows: method" in capsys.readouterr().err
    assert cli.status(["sweep", "sweep", "add", "seed=3"]) == exits.FIXABLE
    assert "resume --trials N" in capsys.readouterr().err
    assert cli.status(["sweep", "sweep", "confirm", "--seeds", "2"]) == exits.DONE
    again = Sweep.load("sweep")
    assert [job.confirms for job in again.arms] == [False] * 4 + [True] * 2
    assert again.confirmation is not None
    assert again.confirmation.candidates == 4
    assert again.confirmation.setting == again.arms[-1].setting


@pytest.mark.parametrize(
    ("settings", "room", "where"),
    [
        ({}, 4, []),
        ({}, None, ["hydra.sweeper.batch"]),
        ({"batch": 8}, None, []),
        ({"batch": 8}, 4, ["hydra.sweeper.batch=8"]),
        ({"trials": 0}, 4, ["hydra.sweeper.trials"]),
        ({"rungs": [3], "reduction": 2}, 4, ["hydra.sweeper.rungs", "hydra.sweeper.reduction"]),
        ({"rungs": [0], "prune": True}, 4, []),  # what rungs say themselves is said once
    ],
)
def test_what_is_wrong_with_its_settings(settings: dict, room: int | None, where: list[str]) -> None:
    pytest.importorskip("optuna", "5")
    assert [one.where for one in search._problems(TpeConfig(**settings), room)] == where


@pytest.mark.parametrize(
    ("found", "what"), [(None, "Optuna is not installed"), ("2.10.1", "Optuna 2.10.1 is older than 5"), ("5.1.0", None)]
)
def test_an_optuna_that_will_not_do_is_said(found: str | None, what: str | None, monkeypatch) -> None:
    def version(name: str) -> str:
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(search, "version", version)
    assert [one.what for one in search._optuna()] == ([what] if what else [])


def test_a_secret_that_is_not_kept_ends_the_drawing(tmp_path: Path) -> None:
    secret = "reward.judge.api_key=<hidden>"
    study = {"overrides": ["a=1,2", secret], "cwd": str(tmp_path), "code": code.state(tmp_path), "hydra_overrides": []}
    with pytest.raises(LaunchError, match="nothing more can be drawn"):
        search.go_on(Sweep(tmp_path, study), None, False, lambda line: None)


class Here(Pretending):
    """Arms really run, in the test's own process."""

    def submit(self, jobs: Sequence[Job]) -> None:
        self.sweep.submitted("local", [job.key for job in jobs])
        for job in jobs:
            assert execute(self.sweep.job_folder(job)).ended is Ended.ok


@pytest.mark.slow
def test_runs_are_told_by_their_objective(place, monkeypatch) -> None:
    monkeypatch.setattr(launching, "launcher_of", Here)
    small = ("model=blank", "method=sft", "dataset=warmstart", "dataset.sample_size=64", "dataset.test_limit=8")
    steps = ("method.max_steps=1", "method.batch_size=4", "method.micro_batch_size=2", "log.progress=false")
    judged = ("evaluation=perplexity", "objective=after/perplexity/loss", "hydra.sweep.dir=sweep")
    search = ("hydra/sweeper=tpe", "hydra.sweeper.trials=2", "hydra.sweeper.batch=1", "hydra.sweeper.random=1")
    rate = "method.learning_rate=tag(log,interval(1e-5,1e-2))"
    assert cli.status(["-m", *search, *small, *steps, *judged, rate]) == exits.DONE
    results = [json.loads(Path(arm.run_dir, "result.json").read_text()) for arm in Sweep.load("sweep").arms]
    told = [json.loads(line).get("values") for line in Path("sweep/optuna.jsonl").read_text().splitlines()]
    assert [values for values in told if values] == [[one["metrics"]["after/perplexity/loss"]] for one in results]
    assert len(results) == 2
