"""The number by which the best setting of a sweep is chosen: what was watched, else the sweep's objective.

And what a setting came to by it, all its seeds together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rlpipe.config.compose import to_plain
from rlpipe.config.schema import Better, RunConfig
from rlpipe.core.errors import Problem
from rlpipe.core.files import Row
from rlpipe.core.terminal import is_number
from rlpipe.records.driving import SEARCH
from rlpipe.records.record import read_result
from rlpipe.records.sweep import Job
from rlpipe.sweep import asha
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.states import Standing, State

CHOICE = "hydra/sweeper=tpe"
KEPT = "watch/kept"
"""The result's name of the watched number that the kept weights have."""


@dataclass(frozen=True)
class Criterion:
    """The number by which the best setting is chosen."""

    name: str
    """As it is called to people."""
    metric: str
    """As results call it."""
    more_is_better: bool
    held_out: bool
    """Whether it is measured on rows that the final evaluation does not look at."""

    def of(self, arm: Job) -> float:
        """Return what an arm's result says; not a number where it does not say it."""
        metrics: Mapping[str, Any] = (read_result(Path(arm.run_dir)) or {}).get("metrics", {})
        value = metrics.get(self.metric)
        return float(value) if is_number(value) else math.nan


class Result(Enum):
    """What became of a setting."""

    value = "value"
    failed = "failed"
    pruned = "pruned"


@dataclass(frozen=True)
class Measured:
    """What a setting came to."""

    result: Result
    value: float = math.nan
    """The number that it is judged by, where it has one."""
    rungs: Mapping[int, float] = field(default_factory=dict)
    """What was measured at rungs, by steps."""
    reason: str = ""
    """Why it failed, where no run says so."""


def measured(criterion: Criterion, arms: Sequence[Standing], rungs: Mapping[int, float]) -> Measured | None:
    """Return what the arms of a setting, its seeds, came to by their mean; None while some are not over.

    Where a seed was pruned or failed the others say nothing of the setting: they would be its luckier ones.
    """
    if not all(one.state.over for one in arms):
        return None
    states = {one.state for one in arms}
    if State.pruned in states:
        return Measured(Result.pruned, rungs=rungs)
    if states != {State.done}:
        return Measured(Result.failed, rungs=rungs)
    value = sum(criterion.of(one.job) for one in arms) / len(arms)
    if not math.isfinite(value):
        return Measured(Result.failed, rungs=rungs, reason=f"it has no finite {criterion.metric}")
    return Measured(Result.value, value, rungs)


def criterion_of(configs: Sequence[Row], objective: str | None) -> Criterion | None:
    """Return what arms with these configs are compared by; None where nothing says it."""
    watches = [one.get("watch") or {} for one in configs]  # a sweep may be older than watching
    watched = {(one.get("metric"), str(one.get("mode")), one.get("every")) for one in watches}
    if len(watched) == 1:
        [(metric, mode, every)] = watched
        if metric is not None and every is not None:
            more = Better[mode].more_is_better(metric)
            return Criterion(f"{metric} on watched rows", KEPT, more, held_out=True)
    if objective is None:
        return None
    return Criterion(objective, objective, Better.auto.more_is_better(objective), held_out=False)


def problems_together(sweeper: DictConfig, arms: Sequence[Arm]) -> Iterator[Problem]:
    """Yield what keeps a search from learning of these arms; nothing for another sweeper."""
    if sweeper._target_ != SEARCH:
        return
    runs = [arm.run for arm in arms if arm.run is not None]
    if len(runs) < len(arms):
        what = "only runs of rlpipe measure what a search learns from, and this application's are none"
        yield Problem(CHOICE, what, "sweep it as a grid: hydra/sweeper=grid")
    if not runs:
        return
    criterion = criterion_of([to_plain(run) for run in runs], runs[0].objective)
    if criterion is None and not sweeper.prune:  # else rungs have said it
        what = "a search looks for the best by one number, and none is named"
        fix = "name it: watch.every=STEPS watch.metric=…, or objective=after/<evaluation>/<number>"
        yield Problem("watch.metric", what, fix)
    elif criterion is not None and not criterion.held_out:
        yield from dict.fromkeys(problem for run in runs for problem in _unmeasured(criterion.metric, run))
    elif not sweeper.prune:
        yield from asha.unlike(arms)
        yield from dict.fromkeys(problem for run in runs for problem in asha.misdirected(run, CHOICE))


def _unmeasured(objective: str, run: RunConfig) -> Iterator[Problem]:
    moment, _, rest = objective.partition("/")
    name = rest.rpartition("/")[0]
    if moment in ("before", "after") and name and name not in run.evaluation:
        measured = ", ".join(run.evaluation) or "nothing"
        what = f"no evaluation '{name}' is chosen ({measured})"
        yield Problem(f"objective={objective}", what, f"choose it: evaluation={name}; or name another number")
