"""Curves of all arms: the mean over an arm's seeds with a band, on one grid of steps for all.

A grid has no more points than the page can afford. Where several logged steps fall on one point their
mean is drawn; the band goes from the lowest to the highest seed, or, for a single seed, from the lowest
to the highest of the steps that the point stands for, so that a spike stays visible.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlpipe.core.progress import Counting
from rlpipe.records.runs import Run
from rlpipe.report.page import series
from rlpipe.report.page.series import CHARACTERS, Vectors

Array = np.ndarray[Any, Any]

MOST_POINTS = 1000
ENOUGH_POINTS = 100
"""Of fewer than this, an arm of one seed goes without its band, so that there can be three times as many."""
FEWEST_POINTS = 12
BUDGET = 5_000_000
"""Characters that all curves of a page may take, about."""
MOST_ROWS = 1_000_000
"""Logged rows that are read of all runs together; of more, one in two is, or one in three, and so on."""

GROUPS = (
    ("Watched on held-out rows", r"^watch/"),
    ("Reward", r"^rewards?($|[/_])|^advantage|^accuracy|^margin|^groups_"),
    ("Loss", r"loss|perplexity|token_accuracy"),
    ("KL and entropy", r"(^|[/_])kl($|[/_])|entropy|clip_fraction|ratio"),
    ("Length", r"length|unparsed|(^|/)tokens($|/)"),
    ("Tools", r"^tools?[/_]"),
    ("Likelihood", r"^log(its|ps)($|[/_])"),
    ("Optimiser", r"grad_norm|learning_rate|^lr$"),
    ("Speed", r"seconds|per_second|num_tokens|memory"),
    ("Other", r""),
)
"""What metrics are shown together, by the first expression that is found in the name."""

FIRST = ("reward", "rewards/margins", "rewards/accuracies", "loss", "kl", "entropy", "completion_length", "tool_calls")
"""Metrics that lead their group."""


@dataclass(frozen=True)
class Grid:
    """Points that stand for `width` steps each; the first one begins at step 0 or 1."""

    last: int
    points: int

    @property
    def width(self) -> int:
        """How many steps a point stands for."""
        return -(-(self.last + 1) // self.points)

    def places(self, steps: Array) -> Array:
        """Return the point of each step."""
        return steps // self.width


@dataclass
class _Reduced:
    """A run on the grid: arrays (names, points)."""

    names: list[str]
    mean: Array
    low: Array
    high: Array
    broken: dict[str, int]
    thinned: bool


def curves(arms: Sequence[Sequence[Run]]) -> dict[str, Any]:
    """Return the page's curves of arms, each given by its runs (one a seed).

    `{vectors, width, skip, metrics: [{name, group, steps, arms, broken}]}`: A point stands for `width` steps,
    of which one logged row in `skip` was read; `steps` are the points' steps, `arms` holds
    for each arm `[mean, low, high]` as places in `vectors` (or null without the metric, `[mean]` without a band),
    `broken` how many logged values of an arm were no number.
    """
    outlines = [series.outline(run) for runs in arms for run in runs]
    last = max((one.last for one in outlines), default=0)
    names = frozenset().union(*(one.names for one in outlines))
    afforded = BUDGET / CHARACTERS / max(1, len(arms)) / max(1, len(names))
    seeds = max(map(len, arms), default=1)
    banded = seeds > 1 or afforded / 3 >= ENOUGH_POINTS
    points = int(np.clip(afforded / 3 if banded else afforded, FEWEST_POINTS, MOST_POINTS))
    grid = Grid(last, min(points, last + 1))
    skip = -(-sum(one.rows for one in outlines) // MOST_ROWS) or 1
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Arrow and numpy let go of the interpreter
        reading = pool.map(lambda runs: _arm([_reduce(run, grid, skip) for run in runs]), arms)
        reduced = list(_counted(reading, len(arms)))
    found = sorted(set().union(*(arm.names for arm in reduced if arm is not None), *()), key=_order)
    vectors = Vectors()
    metrics = [_metric(name, reduced, grid, vectors, banded) for name in found]
    return {"vectors": vectors.texts, "width": grid.width, "skip": skip, "metrics": metrics}


def _counted(arms: Iterable[_Reduced | None], total: int) -> Iterator[_Reduced | None]:
    with Counting("reading curves", total, unit="arm") as progress:
        for done, arm in enumerate(arms, 1):
            progress.advance(done)
            yield arm


def group(name: str) -> str:
    """Return the group that a metric is shown in."""
    return next(title for title, expression in GROUPS if re.search(expression, name))


def _order(name: str) -> tuple[int, int, int, str]:
    """Groups in their order; in a group its leaders, then what has the plainest name."""
    titles = [title for title, _ in GROUPS]
    leads = FIRST.index(name) if name in FIRST else len(FIRST)
    return titles.index(group(name)), leads, name.count("/"), name


def _reduce(run: Run, grid: Grid, skip: int) -> _Reduced | None:
    """Bring a run's log onto the grid."""
    log = series.read(run, skip)
    if log is None or not len(log.steps):
        return None
    places = grid.places(np.minimum(log.steps, grid.last))
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    there = ~np.isnan(log.values)
    counts = np.add.reduceat(there, starts, axis=0, dtype=np.int64)
    sums = np.add.reduceat(np.where(there, log.values, 0.0), starts, axis=0)
    shape = (len(log.names), grid.points)
    mean, low, high = (np.full(shape, np.nan) for _ in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean[:, places[starts]] = (sums / counts).T
    low[:, places[starts]] = np.fmin.reduceat(log.values, starts, axis=0).T
    high[:, places[starts]] = np.fmax.reduceat(log.values, starts, axis=0).T
    return _Reduced(log.names, mean, low, high, log.broken, bool((counts > 1).any()))


def _arm(seeds: Sequence[_Reduced | None]) -> _Reduced | None:
    """Put an arm's seeds together."""
    runs = [run for run in seeds if run is not None]
    if not runs:
        return None
    if len(runs) == 1:
        return runs[0]
    names = list(dict.fromkeys(name for run in runs for name in run.names))
    stacked = np.full((len(runs), len(names), runs[0].mean.shape[1]), np.nan)
    for seed, run in enumerate(runs):
        for place, name in enumerate(run.names):
            stacked[seed, names.index(name)] = run.mean[place]
    broken = {name: sum(run.broken.get(name, 0) for run in runs) for name in names}
    with np.errstate(invalid="ignore"):  # a point that no seed has stays NaN
        mean = np.nansum(stacked, axis=0) / (~np.isnan(stacked)).sum(axis=0)
    low, high = np.fmin.reduce(stacked, axis=0), np.fmax.reduce(stacked, axis=0)
    return _Reduced(names, mean, low, high, {name: count for name, count in broken.items() if count}, True)


def _metric(name: str, arms: Sequence[_Reduced | None], grid: Grid, vectors: Vectors, banded: bool) -> dict[str, Any]:
    """Return one metric of all arms, on those points of the grid where any arm has it."""
    rows = [arm.names.index(name) if arm is not None and name in arm.names else None for arm in arms]
    filled = np.zeros(grid.points, dtype=bool)
    for arm, row in zip(arms, rows, strict=True):
        if arm is not None and row is not None:
            filled |= ~np.isnan(arm.mean[row])
    points = np.flatnonzero(filled)
    drawn: list[list[int] | None] = []
    for arm, row in zip(arms, rows, strict=True):
        if arm is None or row is None:
            drawn.append(None)
            continue
        mean, low, high = (part[row, points] for part in (arm.mean, arm.low, arm.high))
        flat = not banded or not arm.thinned or np.array_equal(low, high, equal_nan=True)
        drawn.append([vectors.add(part) for part in ((mean,) if flat else (mean, low, high))])
    steps = np.minimum(points * grid.width + (grid.width - 1) / 2, grid.last)
    broken = {place: arm.broken[name] for place, arm in enumerate(arms) if arm is not None and name in arm.broken}
    return {"name": name, "group": group(name), "steps": steps.tolist(), "arms": drawn, "broken": broken}
