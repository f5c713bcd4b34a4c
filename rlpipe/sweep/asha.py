"""What a sweep by `hydra/sweeper=asha` adds to a grid: rungs at which its arms judge themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rlpipe.config.kinds import MethodConfig
from rlpipe.config.launchers import RungsConfig
from rlpipe.config.ranges import out_of_range
from rlpipe.config.schema import Better, RunConfig, Until, usual
from rlpipe.config.settings import Changes, statement, written
from rlpipe.core.errors import Problem, RlpipeError
from rlpipe.methods.offline import OfflineConfig
from rlpipe.methods.online import OnlineConfig
from rlpipe.records.driving import SEARCH
from rlpipe.run.check.subject import Subject
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.estimate import steps

TARGET = "hydra_plugins.rlpipe_launch.AshaSweeper"
CHOICE = "hydra/sweeper=asha"
PRUNE = "hydra.sweeper.prune=true"
_SHARED = ("every", "limit", "metric", "mode", "evaluations")
"""Fields of `watch` that all arms have alike, so that they are judged by the same number at the same steps."""
_COMMON = {field.name for cls in (MethodConfig, OfflineConfig, OnlineConfig) for field in dataclasses.fields(cls)}
"""Fields that methods have whatever their loss is."""


def settings_of(sweeper: DictConfig) -> dict[str, Any] | None:
    """Return what a sweep's folder keeps of its rungs; None for one without."""
    if sweeper._target_ != TARGET and not (sweeper._target_ == SEARCH and sweeper.prune):
        return None
    config = OmegaConf.to_container(sweeper)
    assert isinstance(config, dict)
    rungs = config["rungs"]
    return {"rungs": None if rungs is None else sorted(rungs), "reduction": config["reduction"]}


def problems(sweeper: DictConfig, arms: Sequence[Arm]) -> Iterator[tuple[int, Problem]]:
    """Yield what keeps single arms from being judged, with their numbers."""
    settings = settings_of(sweeper)
    if settings is None:
        return
    for arm in arms:
        if arm.run is not None and arm.run.until is not Until.build:
            yield from ((arm.number, problem) for problem in _of_arm(arm.run, settings, _choice(sweeper)))


def problems_together(sweeper: DictConfig, arms: Sequence[Arm]) -> list[Problem]:
    """Return what is wrong with the settings, and why arms cannot be judged by the same number."""
    settings = settings_of(sweeper)
    if settings is None:
        return []
    found = list(out_of_range(RungsConfig(**settings), "hydra.sweeper."))
    if any(arm.run is None for arm in arms):
        what = "only runs of rlpipe measure what they are judged by, and this application's are none"
        found.append(Problem(_choice(sweeper), what, "sweep it as a grid: hydra/sweeper=grid"))
    return found + unlike(arms)


def unlike(arms: Sequence[Arm]) -> list[Problem]:
    """Return why arms cannot be judged by the same watched number."""
    found = []
    meanings = [_meaning(arm.run) for arm in arms if arm.run is not None]
    for key in dict.fromkeys(key for meaning in meanings for key in meaning):
        values = list(dict.fromkeys(meaning.get(key, "") for meaning in meanings))
        if len(values) > 1:
            named = ", ".join(value or "nothing" for value in values)
            what = f"differs between arms ({named}), so that they are not judged by one number"
            found.append(Problem(key, what, _advice(key)))
    return found


def _choice(sweeper: DictConfig) -> str:
    """Return the override that has arms judged."""
    return PRUNE if sweeper._target_ == SEARCH else CHOICE


def _of_arm(run: RunConfig, settings: Mapping[str, Any], choice: str) -> Iterator[Problem]:
    subject, watch = Subject(run), run.watch
    if not subject.trains:
        fix = "sweep it as a grid: hydra/sweeper=grid"
        yield Problem(choice, f"method={run.method.name} makes no steps that it could be judged at", fix)
        return
    if watch.metric is None:
        known = ", ".join(["loss", *(f"{name}/score" for name in run.evaluation)])
        yield Problem("watch.metric", f"{choice} judges arms by a number, and none is named", f"name one: {known} …")
    yield from misdirected(run, choice)
    if watch.every is None:
        what = f"{choice} judges arms by what is watched, and nothing is"
        yield Problem("watch.every", what, "set watch.every=STEPS: by default that is the first rung")
        return
    yield from _rungs(subject, watch.every, settings)


def misdirected(run: RunConfig, choice: str) -> Iterator[Problem]:
    """Yield a problem where `choice` would look for what is worst."""
    watch = run.watch
    if watch.metric is not None and {watch.mode, usual(watch.metric)} == {Better.min, Better.max}:
        what = f"{choice} would keep the arms with the worst {watch.metric}"
        yield Problem("watch.mode", what, f"watch.mode={usual(watch.metric).name}, or leave it out")


def _rungs(subject: Subject, every: int, settings: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        last = steps(subject)
    except RlpipeError:
        return  # rows that cannot be read: the check says why
    rungs = settings["rungs"]
    for rung in rungs or ():
        if rung % every:
            fix = f"let rungs be multiples of watch.every: {max(every, rung - rung % every)}, for example"
            yield Problem("hydra.sweeper.rungs", f"nothing is measured at step {rung} (watch.every={every})", fix)
        if last is not None and rung >= last:
            what = f"the rung at step {rung} is not before the end of the run ({last} steps)"
            yield Problem("hydra.sweeper.rungs", what, "lower it, or leave it out")
    if rungs is None and last is not None and every >= last:
        what = f"the first rung (step {every}) is not before the end of the run ({last} steps)"
        yield Problem("watch.every", what, f"lower it: watch.every={max(1, last // settings['reduction'] ** 2)}")


def _meaning(run: RunConfig) -> dict[str, str]:
    """Return, by the fields that decide it, what the number means that an arm is judged by."""
    found = {f"watch.{name}": written(getattr(run.watch, name)) for name in _SHARED}
    found |= {"dataset": run.dataset.name, "dataset.source": str(run.dataset.source)}
    metric = run.watch.metric or ""
    if metric == "loss":
        found["method"] = run.method.name
        cls = type(run.method)
        for field in dataclasses.fields(cls):
            says = statement(cls, field.name).changes in (Changes.result, Changes.indirect)
            if says and field.name not in _COMMON:
                found[f"method.{field.name}"] = written(getattr(run.method, field.name))
    elif metric == "reward":
        for name, reward in run.reward.items():
            found |= _fields(reward, f"reward.{name}")
    elif (evaluation := run.evaluation.get(metric.partition("/")[0])) is not None:
        found |= _fields(evaluation, f"evaluation.{metric.partition('/')[0]}")
    return found


def _fields(config: Any, place: str) -> dict[str, str]:
    return {f"{place}.{one.name}": written(getattr(config, one.name)) for one in dataclasses.fields(config)}


def _advice(key: str) -> str:
    if key.startswith(("method", "reward")):
        return "judge by an evaluation: watch.metric=<evaluation>/score"
    return "give all arms the same, or sweep a grid: hydra/sweeper=grid"
