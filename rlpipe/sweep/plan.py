"""The plan: what a sweep will do and take, shown before anything is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlpipe.config.schema import RunConfig
from rlpipe.core.paths import store_dir
from rlpipe.core.terminal import count, duration, gigabytes
from rlpipe.launchers.base import Hourly
from rlpipe.run.check.subject import Subject
from rlpipe.sweep import estimate
from rlpipe.sweep.estimate import Room, Time
from rlpipe.sweep.freeze import missing_stages
from rlpipe.sweep.rehearse import Rehearsal

ROWS = 24
"""Arms that are listed; of more, the first and the last few."""
LAST = 4
WIDTH = 40
"""Longest value that is shown whole."""


@dataclass(frozen=True)
class Planned:
    """What one run is expected to take."""

    steps: int | None
    memory: Room | None
    time: Time | None


@dataclass(frozen=True)
class Plan:
    """A rehearsed batch, with what each of its runs is expected to take."""

    rehearsal: Rehearsal
    arms: Mapping[int, Planned]
    build: Mapping[str, Planned]
    """The stages that are not there yet, by name."""
    reuse: Sequence[str]
    at_once: int | None
    """Most jobs that run at the same time; None where nobody here decides."""
    gpus: int
    """GPUs of one job."""
    prunes: bool = False
    """Whether arms may end before their last step."""
    hourly: Hourly | None = None
    """What an hour of a job costs; None where nothing is paid by the hour."""

    @property
    def seconds(self) -> float | None:
        """The training seconds of all jobs together; None where nothing is known of some."""
        times = [one.time for one in (*self.build.values(), *self.arms.values()) if one.steps != 0]
        return sum(one.seconds for one in times if one) if times and all(times) else None


def plan(
    rehearsal: Rehearsal,
    sweeps: Path,
    at_once: int | None,
    gpus: int,
    prunes: bool = False,
    hourly: Hourly | None = None,
) -> Plan:
    """Estimate what a rehearsed batch will take.

    `gpus` is how many each job has, and `hourly` what an hour of it costs; `sweeps` is where earlier sweeps are, and
    `prunes` says that arms may end early.
    """
    runs = [arm.run for arm in rehearsal.arms if arm.run is not None]
    earlier = estimate.pace(store_dir(runs[0].store), sweeps) if runs else {}
    known: dict[str, Planned] = {}

    def planned(config: RunConfig) -> Planned:
        # arms that differ in their seed, say, take the same
        key = f"{config.model}{config.dataset}{config.method}{config.hardware}{config.until}"
        if key not in known:
            subject = Subject(config)
            steps = estimate.steps(subject)
            time = estimate.time(subject, steps, earlier, bool(gpus))
            known[key] = Planned(steps, estimate.memory(subject, earlier, bool(gpus)), time)
        return known[key]

    missing = missing_stages(rehearsal.stages)
    return Plan(
        rehearsal,
        {arm.number: planned(arm.run) for arm in rehearsal.arms if arm.run is not None},
        {name: planned(stage.config) for name, stage in missing.items()},
        [stage.name for stage in rehearsal.stages if stage.name not in missing],
        at_once,
        gpus,
        prunes,
        hourly,
    )


def drawn(plan: Plan) -> RenderableType:
    """Return the plan as a table of arms and the lines below it."""
    return Group(_arms(plan), *(Text(line) for line in _lines(plan)))


def _arms(plan: Plan) -> Table:
    """Return a row for each arm: the fields that the sweep varies, steps, memory, time."""
    arms = plan.rehearsal.arms
    fields = list(dict.fromkeys(name for arm in arms for name in arm.fields))
    table = Table("arm", *fields, "steps", "memory", "time", box=None, pad_edge=False)
    shown = arms if len(arms) <= ROWS else [*arms[: ROWS - LAST], *arms[-LAST:]]
    for arm in shown:
        if len(arms) > ROWS and arm is arms[-LAST]:
            table.add_row("…", f"{len(arms) - ROWS} more")
        values = [_short(arm.fields.get(name, "")) for name in fields]
        table.add_row(str(arm.number), *values, *_numbers(plan.arms.get(arm.number)))
    return table


def _numbers(planned: Planned | None) -> tuple[str, str, str]:
    if planned is None:
        return "", "", ""
    return (
        "" if planned.steps is None else str(planned.steps),
        _room(planned.memory) if planned.memory else "",
        f"{_about([planned.time])} {duration(planned.time.seconds)}" if planned.time else "",
    )


def _room(memory: Room) -> str:
    return gigabytes(memory.size) if memory.measured else f"~{gigabytes(memory.size)}"


def bound(plan: Plan, runs: int) -> list[str]:
    """Return what it takes at most to run so many arms like those of a plan, which are only examples."""
    lines = _stages(plan)
    arms = list(plan.arms.values())
    if arms and all(one.steps is not None for one in arms):
        most = max(one.steps or 0 for one in arms)
        lines.append(f"steps: at most {runs * most}, in {runs} runs of {most}")
    times = [one.time for one in arms if one.time]
    if arms and len(times) == len(arms):
        longest = max(times, key=lambda one: one.seconds)
        lines.append(
            f"training time: up to {duration(runs * longest.seconds)} for all runs (estimated: {longest.basis})"
        )
    return lines


def _stages(plan: Plan) -> list[str]:
    lines = []
    for name, one in plan.build.items():
        steps, memory, time = _numbers(one)
        facts = ", ".join(part for part in (f"{steps} steps" if steps else "", memory, time) if part)
        lines.append(f"to build first: {name}" + (f" ({facts})" if facts else ""))
    return [*lines, *(f"to reuse: {name}" for name in plan.reuse)]


def _lines(plan: Plan) -> list[str]:
    lines = [f"arms: {len(plan.rehearsal.arms)}", *_stages(plan)]
    every = [*plan.build.values(), *plan.arms.values()]
    if every and all(one.steps is not None for one in every):
        total = sum(one.steps or 0 for one in every)
        lines.append(
            f"steps: {f'at most {total}, for arms may end early' if plan.prunes else f'{total} over all runs'}"
        )
    if memories := [one.memory for one in every if one.memory]:
        counted = "~: the tensors of a step, counted; the process itself comes on top"
        words = {True: "measured in earlier runs of the same method and model", False: counted}
        lines.append(f"memory of a process: {'; '.join(sorted({words[one.measured] for one in memories}))}")
    if plan.seconds is not None:
        lines += _time_lines(plan, plan.seconds, [one.time for one in every if one.time])
    return lines + _cost_lines(plan, [one.time for one in every if one.time])


def _time_lines(plan: Plan, seconds: float, times: Sequence[Time]) -> list[str]:
    at_once = f", {plan.at_once} at once" if plan.at_once else ""
    about, bases = "up to" if plan.prunes else _about(times), "; ".join(sorted({one.basis for one in times}))
    lines = [f"training time: {about} {duration(seconds)} for all jobs together{at_once} (estimated: {bases})"]
    if plan.gpus:
        lines.append(f"GPU hours: {about} {count(seconds * plan.gpus / 3600)} ({plan.gpus} for each job)")
    return lines


def _cost_lines(plan: Plan, times: Sequence[Time]) -> list[str]:
    """Say what the training of all jobs costs; that machines start and load beforehand comes on top."""
    if plan.hourly is None:
        return []
    dollars, words = plan.hourly.dollars, plan.hourly.words
    if dollars is None or plan.seconds is None:
        return [f"cost: {words}" if dollars is None else f"cost: ${dollars:.2f} an hour of each job ({words})"]
    about = "up to" if plan.prunes else _about(times)
    return [f"cost: {about} ${dollars * plan.seconds / 3600:.2f} for all jobs (${dollars:.2f} an hour of {words})"]


def _about(times: Sequence[Time]) -> str:
    return "up to" if any(one.bound for one in times) else "about"


def _short(value: str) -> str:
    return value if len(value) <= WIDTH else f"{value[: WIDTH - 1]}…"
