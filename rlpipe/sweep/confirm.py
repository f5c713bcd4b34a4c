"""Measuring a sweep's winner again, on fresh seeds: the number that it was chosen by flatters it.

The best of many arms is partly the luckiest. Where arms were watched (`watch.metric`), the winner is chosen by rows
that the final evaluation never looks at, and nothing of that luck is left in what fresh seeds measure. Where it is
chosen by the sweep's objective, the luck of its seeds is gone, and that of the examples stays: the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

import yaml

from rlpipe.config.overrides import key_of
from rlpipe.core.errors import LaunchError
from rlpipe.core.terminal import say
from rlpipe.records.driving import is_driven
from rlpipe.records.sweep import Confirmation, Job, Kind, Sweep
from rlpipe.sweep.arms import named
from rlpipe.sweep.criterion import Criterion, criterion_of
from rlpipe.sweep.extend import extend
from rlpipe.sweep.states import Standing, State


def confirm(sweep: Sweep, now: Sequence[Standing], seeds: int, command: Callable[[Sequence[str]], object]) -> list[Job]:
    """Add fresh seeds of the winning setting, up to `seeds` of them, and return those that were handed over.

    Raises LaunchError for a sweep that has no winner (yet), and what extending raises.
    """
    arms = [one for one in now if one.job.kind is Kind.arm and not one.job.confirms]
    _refuse_unfinished(sweep, arms)
    configs = {one.job.key: yaml.safe_load(sweep.frozen_config(one.job).read_text(encoding="utf-8")) for one in arms}
    criterion = criterion_of(list(configs.values()), sweep.data.get("objective"))
    if criterion is None:
        what = "nothing says by which number the best arm is chosen"
        fix = "sweep with watch.every=STEPS watch.metric=…, or with objective=after/<evaluation>/<number>"
        raise LaunchError("confirm", what, fix)
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


def _refuse_unfinished(sweep: Sweep, arms: Sequence[Standing]) -> None:
    if is_driven(sweep):
        raise LaunchError("confirm", "the search is still going", "wait for it (watch), or end it (cancel)")
    going = [one.job.key for one in arms if not one.state.over]
    if going:
        what = f"not over yet, and might win: {named([int(key) for key in going])}"
        raise LaunchError("confirm", what, "wait for them (watch), or end them (cancel)")
    if not any(one.state is State.done for one in arms):
        raise LaunchError("confirm", "no arm is done: there is no winner", "run them to their end: resume")


def _winner(arms: Sequence[Standing], criterion: Criterion) -> Job:
    """Return an arm of the setting with the best mean over its seeds. Raises LaunchError where none has the number.

    What is left of a setting whose other seeds were pruned are its luckier ones: it wins only among such settings.
    """
    pruned = {one.job.setting for one in arms if one.state is State.pruned}
    done = [one.job for one in arms if one.state is State.done]
    done = [job for job in done if job.setting not in pruned] or done
    values: dict[str, list[float]] = {}
    for job in done:
        values.setdefault(job.setting, []).append(criterion.of(job))
    sign = 1 if criterion.more_is_better else -1
    means = {setting: sign * sum(found) / len(found) for setting, found in values.items()}
    known = {setting: mean for setting, mean in means.items() if math.isfinite(mean)}
    if not known:
        what = f"no arm that is done has the number {criterion.metric}"
        raise LaunchError("confirm", what, "run the arms again with evaluations that measure it")
    best = max(known, key=known.__getitem__)
    return next(job for job in done if job.setting == best)
