"""How sure a mean over examples and seeds is: one interval for a run's own change, and for comparisons of runs.

Scores are arrays [k, n], k seeds on the same n examples; a row [n] is a single seed. Intervals are those of `crossed`,
which knows where their width comes from. With one seed, what varies is the examples alone: the interval is Student's
paired t, bent for skewed scores; scores of right and wrong have pseudo-examples in its place, and a single arm's share
is Wilson's. With one seed nothing is said about how far other seeds would differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlpipe.statistics import crossed
from rlpipe.statistics.crossed import Array, Parts


@dataclass(frozen=True)
class Interval:
    """An estimate, and the 95 % interval around it."""

    estimate: float
    low: float | None
    """None, as `high`, where there is no interval: a single example, or numbers that do not vary at all."""
    high: float | None
    p: float
    """Two-sided, of a true value of 0; NaN where there is no interval."""

    def ends(self, prefix: str = "") -> dict[str, float]:
        """Return `low` and `high` as metrics, their names after a prefix; nothing where there is no interval."""
        if self.low is None or self.high is None:
            return {}
        return {f"{prefix}low": self.low, f"{prefix}high": self.high}


def change(before: ArrayLike, after: ArrayLike) -> Interval:
    """Return the mean of `after` − `before` with its interval; examples, and seeds, are the same in both.

    `before` and `after` have the shape [k, n], or [n] for one seed. Raises ValueError for other shapes, no examples,
    and anything that is no finite number.
    """
    start, end = _scores(before), _scores(after)
    if start.shape != end.shape:
        raise ValueError(f"scores {start.shape} before and {end.shape} after are not those of the same examples")
    if end.shape[1] == 1:
        return _unsure(float((end - start).mean()))
    both_binary = crossed.binary(start, end)
    parts = crossed.one_arm(end - start, crossed.DIFFERENCE if both_binary else None)
    return of_parts(parts, np.stack([start, end]), bounds=(-1.0, 1.0) if both_binary else None)


def unpaired(ours: ArrayLike, theirs: ArrayLike) -> Interval:
    """Return the mean of `ours` − `theirs`, [k, n] and [l, n], on the same examples but with seeds of their own.

    Raises ValueError as `change` does, and for an arm of a single seed.
    """
    one, other = _scores(ours), _scores(theirs)
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"scores {one.shape} and {other.shape} are not those of the same examples")
    if one.shape[1] == 1:
        return _unsure(float(one.mean() - other.mean()))
    both_binary = crossed.binary(one, other)
    parts = crossed.two_arms(one, other, crossed.DIFFERENCE if both_binary else None)
    return of_parts(parts, np.concatenate([one, other]), bounds=(-1.0, 1.0) if both_binary else None)


def mean(scores: ArrayLike) -> Interval:
    """Return the mean of scores [k, n], or [n], with its interval. Raises ValueError as `change` does."""
    array = _scores(scores)
    if array.shape[1] == 1:
        return _unsure(float(array.mean()))
    if array.shape[0] == 1 and bool(np.isin(array, (0.0, 1.0)).all()):
        return share(int(array.sum()), array.shape[1])
    shares = crossed.binary(array)
    parts = crossed.one_arm(array, crossed.SHARE if shares else None)
    return of_parts(parts, array, bounds=(0.0, 1.0) if shares else None)


def share(right: int, count: int) -> Interval:
    """Return a share of `count` examples with Wilson's score interval, which has a width where none or all are right.

    Its p is NaN: a share is not held against 0. Raises ValueError where `right` is not from 0 to `count`.
    """
    from scipy.stats import binomtest

    found = binomtest(right, count).proportion_ci(crossed.LEVEL, method="wilson")
    return Interval(right / count, float(found.low), float(found.high), math.nan)


def of_parts(parts: Parts, numbers: Array, bounds: tuple[float, float] | None = None) -> Interval:
    """Return the interval of a mean with these parts of its variance; none where `numbers` vary only by rounding."""
    value = float(parts.value)
    if float(parts.variance) <= (1e-12 * float(np.abs(numbers).max())) ** 2:
        return _unsure(value)
    low, high = (float(end) for end in crossed.limits(parts))
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(value, low, high, float(crossed.p_value(parts)))


def _unsure(value: float) -> Interval:
    return Interval(value, None, None, math.nan)


def _scores(values: ArrayLike) -> Array:
    array = np.atleast_2d(np.asarray(values, dtype=float))
    if array.ndim != 2 or not array.size:
        raise ValueError("there are no examples")
    if not np.isfinite(array).all():
        raise ValueError("not every score is a finite number")
    return array


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
