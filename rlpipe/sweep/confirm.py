"""Measuring a sweep's winner again, on fresh seeds: the number that it was chosen by flatters it.

The best of many arms is partly the luckiest. Where arms were watched (`watch.metric`), the winner is chosen by rows
that the final evaluation never looks at, and nothing of that luck is left in what fresh seeds measure. Where it is
chosen by the sweep's objective, the luck of its seeds is gone, and that of the examples stays: the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from rlpipe.config.overrides import key_of
from rlpipe.config.schema import Better
from rlpipe.core.errors import LaunchError
from rlpipe.core.files import Row
from rlpipe.core.terminal import is_number, say
from rlpipe.records.record import read_result
from rlpipe.records.sweep import Confirmation, Job, Kind, Sweep
from rlpipe.sweep.arms import named
from rlpipe.sweep.extend import extend
from rlpipe.sweep.states import Standing, State

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


def confirm(sweep: Sweep, now: Sequence[Standing], seeds: int, command: Callable[[Sequence[str]], object]) -> list[Job]:
    """Add fresh seeds of the winning setting, up to `seeds` of them, and return those that were handed over.

    Raises LaunchError for a sweep that has no winner (yet), and what extending raises.
    """
    arms = [one for one in now if one.job.kind is Kind.arm and not one.job.confirms]
    _refuse_unfinished(arms)
    configs = {one.job.key: yaml.safe_load(sweep.frozen_config(one.job).read_text(encoding="utf-8")) for one in arms}
    criterion = _criterion(sweep, list(configs.values()))
    winner = _winner(arms, criterion)
    settings = {one.job.setting for one in arms}
    if len(settings) < 2:
        raise LaunchError("confirm", "the sweep has but one setting: nothing was chosen", "add seeds: add seed=…")
    there = [job for job in sweep.arms if job.confirms and job.setting == winner.setting]
    fields = " ".join(f"{name}={value}" for name, value in winner.fields.items() if name != "seed")
    say(f"the best of {len(settings)} settings by {criterion.name}: {fields}")
    if len(there) >= seeds:
        return []
    used = [config["seed"] for config in configs.values()]
    used += [yaml.safe_load(sweep.frozen_config(job).read_text(encoding="utf-8"))["seed"] for job in there]
    fresh = [max(used) + 1 + number for number in range(seeds - len(there))]
    confirmation = Confirmation(winner.setting, len(settings), criterion.name, criterion.held_out)
    sweep.data["confirmation"] = asdict(confirmation)
    setting = [one for one in winner.overrides if key_of(one) != "seed"]
    return extend(sweep, [*setting, f"seed={','.join(map(str, fresh))}"], command, confirms=True)


def _refuse_unfinished(arms: Sequence[Standing]) -> None:
    going = [one.job.key for one in arms if not one.state.over]
    if going:
        what = f"not over yet, and might win: {named([int(key) for key in going])}"
        raise LaunchError("confirm", what, "wait for them (watch), or end them (cancel)")
    if not any(one.state is State.done for one in arms):
        raise LaunchError("confirm", "no arm is done: there is no winner", "run them to their end: resume")


def _criterion(sweep: Sweep, configs: Sequence[Row]) -> Criterion:
    """Return what arms are compared by: what was watched, else the sweep's objective."""
    watches = [one.get("watch") or {} for one in configs]  # a sweep may be older than watching
    watched = {(one.get("metric"), str(one.get("mode")), one.get("every")) for one in watches}
    if len(watched) == 1:
        [(metric, mode, every)] = watched
        if metric is not None and every is not None:
            more = Better[mode].more_is_better(metric)
            return Criterion(f"{metric} on watched rows", KEPT, more, held_out=True)
    objective = sweep.data.get("objective")
    if objective is None:
        what = "nothing says by which number the best arm is chosen"
        fix = "sweep with watch.every=STEPS watch.metric=…, or with objective=after/<evaluation>/<number>"
        raise LaunchError("confirm", what, fix)
    return Criterion(objective, objective, Better.auto.more_is_better(objective), held_out=False)


def _winner(arms: Sequence[Standing], criterion: Criterion) -> Job:
    """Return an arm of the setting with the best mean over its seeds. Raises LaunchError where none has the number.

    What is left of a setting whose other seeds were pruned are its luckier ones: it wins only among such settings.
    """
    pruned = {one.job.setting for one in arms if one.state is State.pruned}
    done = [one.job for one in arms if one.state is State.done]
    done = [job for job in done if job.setting not in pruned] or done
    values: dict[str, list[float]] = {}
    for job in done:
        metrics: Mapping[str, Any] = (read_result(Path(job.run_dir)) or {}).get("metrics", {})
        value = metrics.get(criterion.metric)
        values.setdefault(job.setting, []).append(float(value) if is_number(value) else math.nan)
    sign = 1 if criterion.more_is_better else -1
    means = {setting: sign * sum(found) / len(found) for setting, found in values.items()}
    known = {setting: mean for setting, mean in means.items() if math.isfinite(mean)}
    if not known:
        what = f"no arm that is done has the number {criterion.metric}"
        raise LaunchError("confirm", what, "run the arms again with evaluations that measure it")
    best = max(known, key=known.__getitem__)
    return next(job for job in done if job.setting == best)
