"""How sure a number is, given that other examples might have been drawn.

Examples are resampled with replacement; where the same examples were measured twice, both measurements
of one stay together (the paired bootstrap). Intervals are the bootstrap's percentiles (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). The same numbers give the same
interval: resampling has a seed of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CELLS = 2**22
"""At most this many counts at once."""
NORMAL = 1.959963984540054
"""The standard normal distribution's quantile of 0.975."""


@dataclass(frozen=True)
class Interval:
    """An estimate, and the interval that covers the truth in 95 % of all draws of examples."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


def change(before: Sequence[float], after: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the mean change of examples' scores, `before` and `after` in the same order, with its interval.

    Raises ValueError for no examples, different numbers of them, or scores that are no finite numbers.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} scores before and {len(after)} after are not those of the same examples")
    return mean(np.asarray(after, dtype=float) - np.asarray(before, dtype=float), resamples, seed)


def mean(values: Sequence[float] | NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the mean of examples' numbers with its percentile interval.

    Raises ValueError for no examples, and for anything that is no finite number.
    """
    array = np.asarray(values, dtype=float)
    if not array.size:
        raise ValueError("there are no examples")
    if not np.isfinite(array).all():
        raise ValueError("not every score is a finite number")
    means = np.concatenate(list(_resampled(array, resamples, seed)))
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(array.mean()), float(low), float(high))


def _resampled(values: NDArray[np.float64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield the means of resamples, in portions.

    How often each distinct value is drawn is multinomial, which needs no list of draws.
    """
    distinct, counts = np.unique(values, return_counts=True)
    random = np.random.default_rng(seed)
    portion = max(1, CELLS // len(distinct))
    for start in range(0, resamples, portion):
        size = min(portion, resamples - start)
        yield random.multinomial(values.size, counts / values.size, size=size) @ distinct / values.size


def share(right: float, count: int) -> Interval:
    """Return a share of `count` examples with Wilson's score interval (doi:10.1080/01621459.1927.10502953).

    Unlike the bootstrap's it has a width where none or all are right.
    """
    if count < 1 or not 0 <= right <= count:
        raise ValueError(f"{right} of {count} is no share")
    z2, portion = NORMAL**2, right / count
    middle = (portion + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(z2 * (portion * (1 - portion) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return Interval(portion, max(0.0, middle - half), min(1.0, middle + half))


def pass_at_k(count: int, right: int, k: int) -> float:
    """Estimate pass@k from `count` completions of one prompt of which `right` are right, without bias.

    1 − C(count − right, k) / C(count, k): eq. 1 of arXiv:2107.03374, worked out as a product so that no
    binomial coefficient overflows. Raises ValueError where k is not from 1 to `count`, or `right` not
    from 0 to `count`.
    """
    if not 1 <= k <= count:
        raise ValueError(f"pass@{k} cannot be estimated from {count} completions")
    if not 0 <= right <= count:
        raise ValueError(f"{right} of {count} completions cannot be right")
    if count - right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / number for number in range(count - right + 1, count + 1))
