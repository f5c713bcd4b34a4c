"""What methods that ask a judge which of two completions is better need of a run's rewards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlpipe.config.resolved import resolve
from rlpipe.core.errors import PluginError, Problem

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


def judge_problems(config: RunConfig, asking: str, instead: str) -> Iterator[Problem]:
    """Yield a problem where the rewards are not one judge that can compare.

    `asking` names what asks it, `instead` the setting that takes scores in place of comparisons.
    """
    if len(config.reward) != 1:
        if config.reward:  # that one is needed at all, `run.check.fitting` says
            what = f"{asking} asks one judge, and there are {len(config.reward)} rewards"
            yield Problem("reward", what, "give the judge alone: reward=judge")
        return
    [(name, node)] = config.reward.items()
    try:
        compares = resolve(config).reward(name).compares
    except PluginError:
        return  # `run.check.fitting.usable` says why
    if not compares:
        what = f"{node.name} scores one response at a time and compares none"
        yield Problem(f"reward.{name}", what, f"give reward=judge with a chat model, or {instead}")
