"""What a sweep by asha needs of its arms, found before any of them starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from rlpipe.records.driving import SEARCH
from rlpipe.sweep import asha
from rlpipe.sweep.arms import Arm
from tests.composed import compose, once

DPO = (
    *("model=blank", "method=dpo", "dataset=ultrafeedback", "dataset.sample_size=32", "evaluation=preference"),
    *("method.max_steps=27", "watch.every=3", "watch.metric=preference/score"),
)


def sweeper(rungs: list[int] | None = None, reduction: int = 3) -> DictConfig:
    return OmegaConf.create({"_target_": asha.TARGET, "rungs": rungs, "reduction": reduction, "params": {}})


def arm(number: int, *overrides: str) -> Arm:
    chosen = once(*DPO, *overrides)
    nothing = OmegaConf.create({})
    return Arm(number, tuple(chosen), nothing, nothing, Path(str(number)), compose(*chosen))


@pytest.mark.parametrize(
    ("overrides", "rungs", "where", "what", "fix"),
    [
        (["watch.every=null"], None, "watch.every", "nothing is", "set watch.every=STEPS"),
        (["watch.metric=null"], None, "watch.metric", "none is named", "preference/score"),
        (["watch.mode=min"], None, "watch.mode", "the worst preference/score", "watch.mode=max"),
        (["watch.metric=loss", "watch.mode=max"], None, "watch.mode", "the worst loss", "watch.mode=min"),
        (["watch.every=27"], None, "watch.every", "first rung (step 27)", "watch.every=3"),
        ([], [3, 27], "hydra.sweeper.rungs", "step 27 is not before the end", "lower it"),
        ([], [3, 10], "hydra.sweeper.rungs", "nothing is measured at step 10", "9"),
        (["method=none", "watch.every=null", "watch.metric=null"], None, asha.CHOICE, "makes no steps", "sweeper=grid"),
    ],
)
def test_what_keeps_an_arm_from_being_judged(overrides, rungs, where, what, fix):
    found = list(asha.problems(sweeper(rungs), [arm(4, *overrides)]))
    assert [number for number, _ in found] == [4]
    [(_, problem)] = found
    assert problem.where == where
    assert what in problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("varied", "where"),
    [
        (["method.learning_rate=1e-4"], []),
        (["method.beta=0.5", "method.loss=ipo"], []),
        (["watch.every=9"], ["watch.every"]),
        (["evaluation.preference.batch_tokens=512"], ["evaluation.preference.batch_tokens"]),
    ],
)
def test_arms_are_judged_by_one_number(varied, where):
    found = asha.problems_together(sweeper(), [arm(0), arm(1, *varied)])
    assert [problem.where for problem in found] == where


def test_the_loss_is_the_same_number_only_where_nothing_of_the_loss_differs():
    metric = "watch.metric=loss"
    arms = [arm(0, metric), arm(1, metric, "method.learning_rate=1e-4"), arm(2, metric, "method.beta=0.5")]
    assert asha.problems_together(sweeper(), arms[:2]) == []
    [problem] = asha.problems_together(sweeper(), arms)
    assert problem.where == "method.beta"
    assert "0.1, 0.5" in problem.what
    assert "watch.metric=<evaluation>/score" in problem.fix


def test_another_application_s_arms_cannot_be_judged():
    nothing = OmegaConf.create({})
    [problem] = asha.problems_together(sweeper(), [Arm(0, (), nothing, nothing, Path("0"))])
    assert (problem.where, problem.fix) == (asha.CHOICE, "sweep it as a grid: hydra/sweeper=grid")


def test_settings_out_of_range_are_named_and_other_sweepers_are_let_be():
    assert [one.where for one in asha.problems_together(sweeper(reduction=1), [])] == ["hydra.sweeper.reduction"]
    grid = OmegaConf.create({"_target_": "hydra_plugins.rlpipe_launch.GridSweeper"})
    assert list(asha.problems(grid, [arm(0, "watch.every=null")])) == asha.problems_together(grid, []) == []
    assert asha.settings_of(grid) is None


def test_a_search_is_judged_at_rungs_only_where_it_is_to_prune():
    search = OmegaConf.create({"_target_": SEARCH, "prune": False, "rungs": None, "reduction": 3})
    assert asha.settings_of(search) is None
    search.prune = True
    assert asha.settings_of(search) == {"rungs": None, "reduction": 3}
    [(_, problem)] = asha.problems(search, [arm(0, "watch.metric=null")])
    assert problem.what.startswith("hydra.sweeper.prune=true judges arms")
