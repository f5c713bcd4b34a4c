"""Which jobs go into which array, and what each array waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlpipe.records.sweep import Job, Kind


@dataclass(frozen=True)
class Array:
    """Jobs that are submitted as one array: of one kind, needing the same stages."""

    jobs: tuple[Job, ...]
    per_task: int = 1
    """How many of them one task of the array runs, one after another."""
    at_once: int | None = None
    """How many of its tasks may run at once; None for all."""
    follows: int | None = None
    """The place of the array that must be over first, however it ended, so that the throttle holds."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the jobs that must have gone well first."""
        return self.jobs[0].needs

    @property
    def tasks(self) -> list[tuple[Job, ...]]:
        """The jobs of each task."""
        return [self.jobs[start : start + self.per_task] for start in range(0, len(self.jobs), self.per_task)]

    def ids(self, array_id: str) -> dict[str, str]:
        """Return SLURM's id for each job, by key: that of its task."""
        return {job.key: f"{array_id}_{place}" for place, jobs in enumerate(self.tasks) for job in jobs}

    @property
    def kind(self) -> Kind:
        """What the jobs are for."""
        return self.jobs[0].kind


def arrays(jobs: Sequence[Job], largest: int, throttle: int | None, arms_per_job: int = 1) -> list[Array]:
    """Return jobs as arrays of at most `largest` tasks, each after those that it needs.

    `jobs` come with what they need before them. `throttle` bounds the arms that run at once, over all arrays; a task
    runs one of its arms at a time.
    """
    alike: dict[tuple[Kind, tuple[str, ...]], list[Job]] = {}
    for job in jobs:
        alike.setdefault((job.kind, job.needs), []).append(job)
    cut = []
    for (kind, _), group in alike.items():
        per_task = arms_per_job if kind is Kind.arm else 1
        size = largest * per_task
        cut += [Array(tuple(group[start : start + size]), per_task) for start in range(0, len(group), size)]
    return cut if throttle is None else _throttled(cut, throttle)


def _throttled(cut: list[Array], throttle: int) -> list[Array]:
    """Share the throttle among the arrays of arms; SLURM itself only knows one for each array.

    Where there are more arrays than may run arms at once, each runs one arm at a time and follows another array.
    """
    places = [place for place, array in enumerate(cut) if array.kind is Kind.arm]
    made = list(cut)
    if len(places) > throttle:
        for number, place in enumerate(places):
            before = places[number - throttle] if number >= throttle else None
            made[place] = replace(cut[place], at_once=1, follows=before)
        return made
    for place, share in zip(places, shares([len(cut[place].tasks) for place in places], throttle), strict=True):
        made[place] = replace(cut[place], at_once=share)
    return made


def shares(sizes: Sequence[int], total: int) -> list[int]:
    """Divide `total` among groups by their sizes: at least one each, never more than the group has."""
    given = [1] * len(sizes)
    for _ in range(min(total, sum(sizes)) - len(sizes)):
        open_ = [place for place, size in enumerate(sizes) if given[place] < size]
        given[min(open_, key=lambda place: given[place] / sizes[place])] += 1
    return given
