"""The statistics of one arm, and of one arm against another: from paired numbers to a mean, an interval and a p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rlpipe.report.comparison import ArmMean, SeedMean
from rlpipe.report.pairing import Measured, matrix
from rlpipe.statistics import crossed
from rlpipe.statistics.crossed import Array, Parts
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
    value = float(scores.mean())
    if n == 1:
        return ArmMean(label, value, None, None, 1, seeds, "one example: no interval")
    parts = crossed.one_arm(scores, crossed.SHARE if crossed.binary(scores) else None)
    if _all_same(parts, scores):
        return ArmMean(label, value, None, None, n, seeds, "all scores are equal: no interval")
    low, high = (float(end) for end in crossed.limits(parts))
    if crossed.binary(scores):
        low, high = max(low, 0.0), min(high, 1.0)
    return ArmMean(label, value, low, high, n, seeds, ONE_SEED if len(runs) == 1 else "")


def arm_numbers(label: str, runs: Sequence[SeedMean]) -> ArmMean:
    """Return an arm's mean of numbers that stand for whole runs."""
    found = [run.mean for run in runs if run.mean is not None]
    if not found:
        return ArmMean(label, None, None, None, 0, list(runs), "no result")
    value = sum(found) / len(found)
    if len(found) == 1:
        return ArmMean(label, value, None, None, 0, list(runs), "one seed and no examples: no interval")
    parts = crossed.only_seeds(np.array(found))
    if _all_same(parts, np.array(found)):
        return ArmMean(label, value, None, None, 0, list(runs), "all seeds are equal: no interval")
    low, high = (float(end) for end in crossed.limits(parts))
    return ArmMean(label, value, low, high, 0, list(runs), "")


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
    value = float(a.mean() - b.mean())
    if n == 1:
        return Contrast(value, None, None, math.nan, 1, k, paired, None, ONE_EXAMPLE)
    pseudo = crossed.DIFFERENCE if crossed.binary(a, b) else None
    parts = crossed.one_arm(a - b, pseudo) if pairs else crossed.two_arms(a, b, pseudo)
    variances = components(a - b) if pairs else None
    found = Contrast(value, None, None, math.nan, n, k, paired, variances, note)
    return _interval(parts, found, scores, shares=pseudo is not None)


def contrast_numbers(ours: Sequence[SeedMean], theirs: Sequence[SeedMean]) -> Contrast:
    """Compare two arms by numbers that stand for whole runs: over seeds alone."""
    a, b = ({run.seed: run.mean for run in runs if run.mean is not None} for runs in (ours, theirs))
    if not a or not b:
        return NOTHING
    common = [seed for seed in a if seed in b]
    if len(common) > 1:
        differences = np.array([a[seed] - b[seed] for seed in common], dtype=float)
        found = Contrast(float(differences.mean()), None, None, math.nan, 0, len(common), "seeds", None, "")
        return _interval(crossed.only_seeds(differences), found, np.array([*a.values(), *b.values()], dtype=float))
    value = float(np.mean(list(a.values())) - np.mean(list(b.values())))
    k = min(len(a), len(b))
    if k == 1:
        return Contrast(value, None, None, math.nan, 0, 1, "", None, "one seed and no examples: nothing to test")
    parts = crossed.seeds_of_two(np.array(list(a.values()), dtype=float), np.array(list(b.values()), dtype=float))
    found = Contrast(value, None, None, math.nan, 0, k, "", None, UNPAIRED)
    return _interval(parts, found, np.array([*a.values(), *b.values()], dtype=float))


def _interval(parts: Parts, found: Contrast, numbers: Array, shares: bool = False) -> Contrast:
    """Add interval and p, where the differences of `numbers` differ at all; `shares` are bounded by 1."""
    if _all_same(parts, numbers):
        same = "every number is the same in both" if found.value == 0 else "every difference is the same: no interval"
        return replace(found, note=same)
    low, high = (float(end) for end in crossed.limits(parts))
    if shares:
        low, high = max(low, -1.0), min(high, 1.0)
    return replace(found, low=low, high=high, p=float(crossed.p_value(parts)))


def _all_same(parts: Parts, numbers: Array) -> bool:
    """Return whether nothing differs but by rounding."""
    return float(parts.variance) <= (1e-12 * float(np.abs(numbers).max())) ** 2


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
