"""The statistics of one arm, and of one arm against another: from paired numbers to a mean, an interval and a p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlpipe.report.comparison import ArmMean, SeedMean
from rlpipe.report.pairing import Measured, matrix
from rlpipe.statistics import crossed, intervals
from rlpipe.statistics.intervals import Interval
from rlpipe.statistics.power import Components, components

ONE_SEED = "one seed: holds for these models; how far seeds matter is not known"
UNPAIRED = "the arms share no two seeds, so theirs are not paired"
ONE_EXAMPLE = "one common example says nothing about others"


@dataclass(frozen=True)
class Contrast:
    """An arm less the baseline, before it is judged."""

    value: float | None
    low: float | None
    high: float | None
    p: float
    """NaN where nothing can be tested."""
    examples: int
    seeds: int
    paired: str
    variances: Components | None
    """None where there are no examples, or too few."""
    note: str


NOTHING = Contrast(None, None, None, math.nan, 0, 0, "", None, "")


def arm_mean(label: str, runs: Sequence[Measured]) -> ArmMean:
    """Return an arm's mean with its interval, from runs of different seeds on the same examples."""
    seeds = [_seed_mean(run) for run in runs]
    if not runs:
        return ArmMean(label, None, None, None, 0, [], "no result")
    _, scores = matrix(runs)
    n = scores.shape[1]
    if n == 0:
        return ArmMean(label, None, None, None, 0, seeds, "no example with a number in every seed")
    found = intervals.mean(scores)
    note = ONE_SEED if len(runs) == 1 else ""
    if found.low is None:
        note = "one example: no interval" if n == 1 else "all scores are equal: no interval"
    return ArmMean(label, found.estimate, found.low, found.high, n, seeds, note)


def arm_numbers(label: str, runs: Sequence[SeedMean]) -> ArmMean:
    """Return an arm's mean of numbers that stand for whole runs."""
    found = [run.mean for run in runs if run.mean is not None]
    if not found:
        return ArmMean(label, None, None, None, 0, list(runs), "no result")
    value = sum(found) / len(found)
    if len(found) == 1:
        return ArmMean(label, value, None, None, 0, list(runs), "one seed and no examples: no interval")
    numbers = np.array(found, dtype=float)
    sure = intervals.of_parts(crossed.only_seeds(numbers), numbers)
    note = "all seeds are equal: no interval" if sure.low is None else ""
    return ArmMean(label, value, sure.low, sure.high, 0, list(runs), note)


def contrast(ours: Sequence[Measured], theirs: Sequence[Measured]) -> Contrast:
    """Compare two arms example by example.

    Seeds that both have are paired; where they share less than two, each arm's seeds count for themselves; where
    one arm has a single seed, one model of each is compared and nothing is said about seeds.
    """
    if not ours or not theirs:
        return NOTHING
    pairs = _seed_pairs(ours, theirs)
    note = _left_out(ours, theirs, len(pairs))
    if pairs:
        _, scores = matrix([run for pair in pairs for run in pair])
        a, b = scores[0::2], scores[1::2]
        k, paired = len(pairs), "seeds and examples" if len(pairs) > 1 else "examples"
        note = ONE_SEED if k == 1 else note
    else:
        _, scores = matrix([*ours, *theirs])
        a, b = scores[: len(ours)], scores[len(ours) :]
        k, paired = min(len(ours), len(theirs)), "examples"
        note = UNPAIRED
    n = scores.shape[1]
    if n == 0:
        return Contrast(None, None, None, math.nan, 0, k, "", None, "no example has a number in every run")
    found = intervals.change(b, a) if pairs else intervals.unpaired(a, b)
    if n == 1:
        return Contrast(found.estimate, None, None, math.nan, 1, k, paired, None, ONE_EXAMPLE)
    return _contrast(found, n, k, paired, components(a - b) if pairs else None, note)


def contrast_numbers(ours: Sequence[SeedMean], theirs: Sequence[SeedMean]) -> Contrast:
    """Compare two arms by numbers that stand for whole runs: over seeds alone."""
    a, b = ({run.seed: run.mean for run in runs if run.mean is not None} for runs in (ours, theirs))
    if not a or not b:
        return NOTHING
    numbers = np.array([*a.values(), *b.values()], dtype=float)
    common = [seed for seed in a if seed in b]
    if len(common) > 1:
        differences = np.array([a[seed] - b[seed] for seed in common], dtype=float)
        sure = intervals.of_parts(crossed.only_seeds(differences), numbers)
        return _contrast(sure, 0, len(common), "seeds", None, "")
    ours_alone, theirs_alone = numbers[: len(a)], numbers[len(a) :]
    k = min(len(a), len(b))
    if k == 1:
        value = float(ours_alone.mean() - theirs_alone.mean())
        return Contrast(value, None, None, math.nan, 0, 1, "", None, "one seed and no examples: nothing to test")
    sure = intervals.of_parts(crossed.seeds_of_two(ours_alone, theirs_alone), numbers)
    return _contrast(sure, 0, k, "", None, UNPAIRED)


def _contrast(
    found: Interval, examples: int, seeds: int, paired: str, variances: Components | None, note: str
) -> Contrast:
    """Put an interval into a contrast; where there is none, the note says why."""
    if found.low is None:
        same = found.estimate == 0
        note = "every number is the same in both" if same else "every difference is the same: no interval"
    return Contrast(found.estimate, found.low, found.high, found.p, examples, seeds, paired, variances, note)


def _seed_pairs(ours: Sequence[Measured], theirs: Sequence[Measured]) -> list[tuple[Measured, Measured]]:
    """Return the runs to pair by seed; none where each arm's seeds shall count for themselves."""
    known = {run.run.seed: run for run in theirs}
    pairs = [(run, known[run.run.seed]) for run in ours if run.run.seed in known]
    if len(pairs) > 1:
        return pairs
    if min(len(ours), len(theirs)) > 1:
        return []
    return pairs or [(ours[0], theirs[0])]


def _left_out(ours: Sequence[Measured], theirs: Sequence[Measured], pairs: int) -> str:
    most = max(len(ours), len(theirs))
    return f"on the {pairs} seeds that both have, of {most}" if 1 < pairs < most else ""


def _seed_mean(run: Measured) -> SeedMean:
    count = len(run.scores) - run.unusable
    return SeedMean(run.run.name, run.run.seed, run.mean if count else None, count, run.unusable)
