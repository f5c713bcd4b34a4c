"""How many more examples or seeds would settle a difference that cannot be told from none.

A number is found as for a study that is planned anew: were the true difference the one measured and were the
variances those measured, how many examples (or seeds) give an 80 % chance that p falls below the level?
Where the other source of chance alone is too large, no number does, and both grow in proportion; None says that
even that would not do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rlpipe.statistics.crossed import Array, Parts, SeedPart, quantile

POWER = 0.8
MOST_EXAMPLES = 1_000_000
MOST_SEEDS = 200
"""More than these settle nothing in practice."""


@dataclass(frozen=True)
class Components:
    """Where a difference's variance comes from, for one seed and one example."""

    seed: float
    example: float
    rest: float
    """Of one example under one seed, beyond both."""
    seeds: int
    examples: int


@dataclass(frozen=True)
class Settling:
    """What would settle a difference: further examples, or further seeds in each arm; None where none would."""

    examples: int | None
    seeds: int | None
    together: bool = False
    """It takes both: neither would do alone."""


def components(differences: Array) -> Components:
    """Split the variance of differences [k, n] of two arms; a single seed leaves `seed` at 0 and `rest` in `example`.

    Estimates are those of the analysis of variance, none below 0.
    """
    k, n = differences.shape
    example = float(differences.mean(0).var(ddof=1))
    if k == 1:
        return Components(0.0, example, 0.0, k, n)
    left = differences - differences.mean(0) - differences.mean(1, keepdims=True) + differences.mean()
    rest = float(np.square(left).sum() / ((k - 1) * (n - 1)))
    seed = float(differences.mean(1).var(ddof=1)) - rest / n
    return Components(max(seed, 0.0), max(example - rest / k, 0.0), rest, k, n)


def settling(difference: float, parts: Components, level: float = 0.05) -> Settling:
    """Return how many further examples, or seeds, would probably settle a difference of this size at this level.

    With a single seed, seeds were not varied, and nothing is said about them.
    """
    if difference == 0 or not math.isfinite(difference):
        return Settling(None, None)

    def examples_settle(count: int) -> bool:
        return _settles(difference, parts, parts.seeds, count, level)

    def seeds_settle(count: int) -> bool:
        return _settles(difference, parts, count, parts.examples, level)

    def examples_with(seeds: int) -> int:
        return math.ceil(parts.examples * seeds / parts.seeds)

    def both_settle(count: int) -> bool:
        return _settles(difference, parts, count, examples_with(count), level)

    examples = _fewest(examples_settle, parts.examples, MOST_EXAMPLES)
    seeds = _fewest(seeds_settle, parts.seeds, MOST_SEEDS) if parts.seeds > 1 else None
    if parts.seeds > 1 and examples is None and seeds is None:
        both = _fewest(both_settle, parts.seeds, MOST_SEEDS)
        if both is not None:
            return Settling(examples_with(both) - parts.examples, both - parts.seeds, together=True)
    return Settling(
        None if examples is None else examples - parts.examples, None if seeds is None else seeds - parts.seeds
    )


def _settles(difference: float, parts: Components, seeds: int, examples: int, level: float) -> bool:
    from scipy.special import ndtri

    of_seeds = parts.seed / seeds + parts.rest / (seeds * examples)
    zero = np.zeros(())
    planned = Parts(
        zero,
        zero,
        SeedPart(np.array(of_seeds), seeds - 1) if seeds > 1 else None,
        np.array(parts.example / examples + (0.0 if seeds > 1 else of_seeds)),
        zero,
        examples,
        examples - 1,
    )
    reach = float(quantile(planned, np.array(level), 1.0)) + ndtri(POWER)
    return abs(difference) >= reach * math.sqrt(float(planned.variance))


def _fewest(settles: Callable[[int], bool], now: int, most: int) -> int | None:
    """Return the smallest number from `now` + 1 to `most` that settles; more never settle less."""
    if most <= now or not settles(most):
        return None
    low, high = now, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the chance of any false discovery among them stays below the level.

    Holm, "A simple sequentially rejective multiple test procedure" (1979, Scand. J. Statist. 6): the smallest
    is multiplied by their number, the next by one less, and none may end below one before it. A p that is NaN
    (there was nothing to test) stays NaN and does not count.
    """
    tested = sorted((p, place) for place, p in enumerate(ps) if not math.isnan(p))
    adjusted = [math.nan] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        if not 0 <= p <= 1:
            raise ValueError(f"{p} is no probability")
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = largest
    return adjusted
