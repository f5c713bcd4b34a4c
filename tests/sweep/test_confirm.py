"""The winner of a sweep is found and measured again on fresh seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rlpipe.core.errors import LaunchError
from rlpipe.records import driving
from rlpipe.records.sweep import Confirmation, Job, Kind, Sweep, setting_of
from rlpipe.sweep import code
from rlpipe.sweep.confirm import confirm
from rlpipe.sweep.criterion import KEPT
from rlpipe.sweep.states import Standing, State
from tests.report.recorded import recorded

WATCH = {"every": 2, "metric": "accuracy/score", "mode": "auto"}
Standings = list[Standing]


@pytest.fixture
def swept(tmp_path: Path) -> Callable[..., tuple[Sweep, Standings]]:
    """Make a sweep over beta and seed; `values` are the arms' numbers by (beta, seed), None for a pruned one."""

    def make(values: dict, watch: dict | None = WATCH, objective: str | None = None, metric: str = KEPT):
        study = {"launcher": "local", "objective": objective, "cwd": str(tmp_path), "code": code.state(tmp_path)}
        study |= {
            "task": "rlpipe.cli.run:task",
            "sweeper": "a.Tpe",
            "flags": [],
            "overrides": ["method=dpo", "seed=0,1"],
        }
        study |= {"hydra_overrides": ["hydra/sweeper=tpe", "hydra.sweeper.n=9", "hydra.launcher.jobs=2"]}
        sweep = Sweep.create(tmp_path / "sweep", **study)
        standings = []
        for number, ((beta, seed), value) in enumerate(values.items()):
            folder = sweep.folder / str(number)
            recorded(folder, seed=seed, metrics={} if value is None else {metric: value})
            (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "watch": watch}))
            overrides = ("method=dpo", f"method.beta={beta}", f"seed={seed}")
            job = Job(str(number), Kind.arm, overrides, str(folder), fields={"method.beta": str(beta)})
            standings.append(Standing(job, State.pruned if value is None else State.done))
        sweep.add([one.job for one in standings])
        return sweep, standings

    return make


def confirmed(swept, seeds: int = 3, **how) -> list[str]:
    """Return the command line that confirming hands on."""
    lines: list[list[str]] = []
    sweep, standings = swept(**how)
    confirm(sweep, standings, seeds, lambda line: lines.append(list(line)))
    [line] = lines
    return line


@pytest.mark.parametrize(
    ("values", "metric", "mode", "winner"),
    [
        ({(1, 0): 0.5, (2, 0): 0.7, (3, 0): 0.6}, "accuracy/score", "auto", 2),
        ({(1, 0): 0.5, (2, 0): 0.7, (3, 0): 0.6}, "loss", "auto", 1),
        ({(1, 0): 0.5, (2, 0): 0.7, (3, 0): 0.6}, "loss", "max", 2),
        ({(1, 0): 0.5, (1, 1): 0.9, (2, 0): 0.6, (2, 1): 0.6}, "accuracy/score", "auto", 1),
        ({(1, 0): 0.5, (2, 0): 0.9, (2, 1): None}, "accuracy/score", "auto", 1),
        ({(1, 0): 0.5, (1, 1): None, (2, 0): 0.9, (2, 1): None}, "accuracy/score", "auto", 2),
        ({(1, 0): float("nan"), (2, 0): 0.1}, "accuracy/score", "auto", 2),
    ],
)
def test_the_best_mean_over_seeds_wins_and_what_lost_seeds_only_among_its_like(swept, values, metric, mode, winner):
    line = confirmed(swept, values=values, watch={**WATCH, "metric": metric, "mode": mode})
    assert f"method.beta={winner}" in line


def test_fresh_seeds_go_on_with_the_sweep_s_launcher_and_without_its_sweeper(swept):
    line = confirmed(swept, values={(1, 0): 0.5, (1, 7): 0.5, (2, 3): 0.7})
    assert line == ["-m", "method=dpo", "method.beta=2", "seed=8,9,10", "hydra.launcher.jobs=2", line[-1]]


def test_what_a_search_drew_from_is_left_out_where_the_winner_does_not_have_it(swept):
    sweep, standings = swept({(1, 0): 0.5, (2, 0): 0.7})
    sweep.data["overrides"].append('method.gamma_ratio=tag("method=simpo",interval(0.3,0.8))')
    lines: list[list[str]] = []
    confirm(sweep, standings, 2, lambda line: lines.append(list(line)))
    assert lines[0][:4] == ["-m", "method=dpo", "method.beta=2", "seed=1,2"]


def test_while_a_search_is_driven_nothing_is_confirmed(swept):
    sweep, standings = swept({(1, 0): 0.5, (2, 0): 0.7})
    with driving.driving(sweep), pytest.raises(LaunchError, match="still going"):
        confirm(sweep, standings, 2, lambda _: None)


def test_how_it_was_chosen_is_kept(swept):
    sweep, standings = swept({(1, 0): 0.5, (2, 0): None, (3, 0): 0.7})
    confirm(sweep, standings, 2, lambda _: None)
    setting = setting_of(standings[2].job.overrides)
    assert sweep.confirmation == Confirmation(setting, 3, "accuracy/score on watched rows", True)


def test_without_watching_the_objective_chooses_and_that_is_said(swept):
    objective = "after/accuracy/loss"
    sweep, standings = swept({(1, 0): 0.5, (2, 0): 0.7}, watch=None, objective=objective, metric=objective)
    confirm(sweep, standings, 2, lambda _: None)
    assert sweep.confirmation == Confirmation(setting_of(standings[0].job.overrides), 2, objective, False)


def test_only_the_seeds_that_are_missing_are_added(swept):
    sweep, standings = swept({(1, 0): 0.5, (2, 0): 0.7})
    winner = standings[1].job
    folder = sweep.folder / "2"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 1\n")
    overrides = (*winner.overrides[:-1], "seed=1")
    sweep.add([Job("2", Kind.arm, overrides, str(folder), confirms=True)])
    lines: list[list[str]] = []
    confirm(sweep, standings, 3, lambda line: lines.append(list(line)))
    assert lines[0][3] == "seed=2,3"
    assert confirm(sweep, standings, 1, lambda line: lines.append(list(line))) == []
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("how", "words", "fix"),
    [
        ({"values": {(1, 0): 0.5, (1, 1): 0.5}}, "but one setting", "add"),
        ({"values": {(1, 0): None, (2, 0): None}}, "no arm is done", "resume"),
        ({"values": {(1, 0): 0.5, (2, 0): 0.6}, "watch": {**WATCH, "metric": None}}, "nothing says", "watch.metric"),
        ({"values": {(1, 0): 0.5, (2, 0): 0.6}, "metric": "other"}, f"has the number {KEPT}", "again"),
    ],
)
def test_a_sweep_without_a_winner_says_why(swept, how, words, fix):
    with pytest.raises(LaunchError) as error:
        confirmed(swept, **how)
    assert words in error.value.what
    assert fix in error.value.fix


def test_while_arms_are_going_nothing_is_confirmed(swept):
    sweep, [first, *rest] = swept({(1, 0): 0.5, (2, 0): 0.6})
    going = Standing(first.job, State.running)
    with pytest.raises(LaunchError, match="might win: arm 0"):
        confirm(sweep, [going, *rest], 3, lambda _: None)


@pytest.mark.slow
def test_an_asha_sweep_is_launched_extended_and_confirmed(tmp_path, monkeypatch, capsys):
    """From the command line, with a place that only pretends."""
    from rlpipe.cli import exits
    from rlpipe.cli import main as cli
    from rlpipe.config.plugins import Plugin, table
    from rlpipe.sweep import launching
    from rlpipe.sweep.states import standings
    from tests.sweep.test_launcher import Pretending, launch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(Pretending, "submitted", [])
    monkeypatch.setitem(table()["launcher"], "local", Plugin("launcher", "local", "tests", Pretending))
    monkeypatch.setattr(launching, "launcher_of", Pretending)
    monkeypatch.setattr(launching, "report", lambda sweep, standings: True)
    asha = ("hydra/sweeper=asha", "method=dpo", "method.learning_rate=1e-4,1e-3", "method.max_steps=8")
    judged = ("watch.every=2", "watch.metric=preference/score", "evaluation=preference", "hydra.sweeper.reduction=2")
    assert launch(*asha, *judged[:1], "hydra.sweeper.rungs=[3,8]") == exits.FIXABLE
    said = capsys.readouterr().err
    for words in ("none is named", "nothing is measured at step 3", "step 8 is not before the end"):
        assert words in said
    assert launch(*asha, *judged) == exits.DONE
    sweep = Sweep.load("sweep")
    assert sweep.data["asha"] == {"rungs": None, "reduction": 2}
    for arm in sweep.arms:
        file, value = (
            Path(arm.run_dir, "result.json"),
            {"0.0001": 0.1, "0.001": 0.2}[arm.fields["method.learning_rate"]],
        )
        file.write_text(json.dumps(json.loads(file.read_text()) | {"metrics": {KEPT: value}}))
    now = standings(sweep, Pretending(sweep).statuses(sweep.jobs))
    fresh = confirm(sweep, now, 2, cli.command)
    assert [(job.key, job.confirms) for job in fresh] == [("2", True), ("3", True)]
    assert [dict(job.fields) for job in fresh] == [
        {"method.learning_rate": "0.001", "seed": seed} for seed in ("1", "2")
    ]
    again = Sweep.load("sweep")
    assert [job.confirms for job in again.arms] == [False, False, True, True]
    assert again.confirmation.candidates == 2
    assert again.confirmation.setting == again.arms[1].setting == again.arms[2].setting
