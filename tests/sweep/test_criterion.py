"""What a search can learn from, and what keeps it from that."""

from __future__ import annotations

import pytest
from omegaconf import DictConfig, OmegaConf

from rlpipe.records.driving import SEARCH
from rlpipe.sweep.criterion import problems_together
from tests.sweep.test_asha import arm


def sweeper(prune: bool = False) -> DictConfig:
    return OmegaConf.create({"_target_": SEARCH, "prune": prune, "rungs": None, "reduction": 3})


UNWATCHED = ("watch.every=null", "watch.metric=null")


@pytest.mark.parametrize(
    ("varied", "where"),
    [
        ([[], ["method.learning_rate=1e-4"]], []),
        ([[], ["watch.limit=7"]], ["watch.limit"]),
        ([["watch.mode=min"], ["watch.mode=min", "method.beta=0.5"]], ["watch.mode"]),
        ([UNWATCHED], ["watch.metric"]),
        ([(*UNWATCHED, "objective=after/preference/accuracy")], []),
        ([(*UNWATCHED, "objective=after/accuracy/score")], ["objective=after/accuracy/score"]),
    ],
)
def test_a_search_needs_one_number_that_means_the_same_in_all_arms(varied: list, where: list[str]) -> None:
    arms = [arm(number, *overrides) for number, overrides in enumerate(varied)]
    assert [problem.where for problem in problems_together(sweeper(), arms)] == where


def test_what_rungs_say_themselves_is_not_said_twice() -> None:
    assert list(problems_together(sweeper(prune=True), [arm(0, "watch.metric=null")])) == []


def test_other_sweepers_are_let_be() -> None:
    grid = OmegaConf.create({"_target_": "hydra_plugins.rlpipe_launch.GridSweeper"})
    assert list(problems_together(grid, [arm(0, *UNWATCHED)])) == []
