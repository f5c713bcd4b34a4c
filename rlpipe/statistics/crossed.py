"""How far a mean over seeds and examples is sure: variances of a design in which every seed meets every example.

Each of k seeds (trained models) is measured on the same n examples, so a score is

    y[s, i] = mean + seed[s] + example[i] + rest[s, i]

and the mean of all has the variance σ²(seed)/k + σ²(example)/n + σ²(rest)/(kn). This is the design of
studies in which several readers judge the same cases, and its estimator is theirs: with the mean squares S of
seeds, E of examples and R of the rest, (S + max(E − R, 0)) / kn (Hillis, doi:10.1002/sim.2532).

Why no percentile bootstrap over seeds and examples: resampled seeds show at most (k − 1)/k of the seeds'
variance and know nothing of its uncertainty; with two seeds a 95 % interval covers some 70 %. Instead:

* Seeds contribute with Student's t of k − 1 degrees of freedom, examples with Hall's. The squared
  quantiles are joined by the share r of the variance that seeds have: c² = r^1.8 t² + (1 − r^1.8) e². With
  exponent 1 this is the variance recovery of Zou and Donner (doi:10.1002/sim.3095), which is too wide for two
  seeds (up to 98.8 %); Satterthwaite's degrees of freedom are too few for them (down to 88 %). The exponent
  keeps coverage from 93 to 97 % for two seeds on, wherever the variance sits.
* Skewed scores: Hall's cubic transformation of Student's t (1992, "On the removal of skewness by
  transformation", JRSS B 54), the bootstrap-t's correction in closed form.
* Scores of right and wrong: pseudo-examples, as of Agresti and Coull for one mean (doi:10.2307/2685469) and
  Agresti and Min for a paired difference (doi:10.1002/sim.1781), so that none or all right has a width too.

All functions take batches: arrays [..., k, n].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.95
_JOIN = 1.8
_HALVINGS = 40
_SMALLEST = -300.0
"""The logarithm of the smallest p that is told from 0; below it, quantiles would overflow."""


@dataclass(frozen=True)
class SeedPart:
    """What seeds add to the variance of the mean, σ²(seed)/k + σ²(rest)/(kn), known to `freedom` degrees."""

    variance: Array
    freedom: Array | float


@dataclass(frozen=True)
class Parts:
    """A mean, and the parts of its variance; arrays of the batch's shape."""

    value: Array
    """The mean as it is."""
    centre: Array
    """The mean that intervals are built around: the same but for pseudo-examples."""
    seeds: SeedPart | None
    """None for a single seed."""
    examples: Array
    """What examples add beyond that."""
    skewness: Array
    """Of the examples' mean scores over seeds."""
    count: int
    """How many examples there are, pseudo-examples not counted."""
    freedom: float
    """Degrees of freedom of the examples' variance; infinite with pseudo-examples, which stand in for them."""

    @property
    def variance(self) -> Array:
        """The variance of the mean."""
        return self.examples + (self.seeds.variance if self.seeds is not None else 0.0)


@dataclass(frozen=True)
class Pseudo:
    """Examples that nobody has seen, added to scores of right and wrong: `count` of mean `centre`, `spread` their
    mean squared distance from it."""

    count: int
    centre: float
    spread: float


SHARE = Pseudo(4, 0.5, 0.25)
"""Two examples right, two wrong: for the mean of scores from 0 to 1."""
DIFFERENCE = Pseudo(2, 0.0, 0.5)
"""Half an example better, half an example worse, one equal: for a difference of such scores."""


def one_arm(scores: Array, pseudo: Pseudo | None = None) -> Parts:
    """Return the parts for scores [..., k, n]: one arm's, or the differences of two arms with the same seeds.

    Raises ValueError for less than two examples, and for anything that is no finite number.
    """
    _refuse(scores)
    k = scores.shape[-2]
    rest = _rest(scores)
    parts, noise = _examples(scores.mean(-2), rest / k, rest, pseudo)
    if k == 1:
        return parts
    # The seeds' part has the rest's noise in it already.
    seeds = SeedPart(scores.mean(-1).var(-1, ddof=1) / k * _weight(parts, pseudo) ** 2, k - 1)
    return replace(parts, seeds=seeds, examples=np.maximum(parts.examples - noise, 0.0))


def two_arms(ours: Array, theirs: Array, pseudo: Pseudo | None = None) -> Parts:
    """Return the parts for the difference of two arms with seeds of their own, [..., k, n] and [..., l, n].

    Examples are the same and in the same order. Raises ValueError as `one_arm` does, and for a single seed.
    """
    _refuse(ours)
    _refuse(theirs)
    if min(ours.shape[-2], theirs.shape[-2]) < 2:
        raise ValueError("a single seed says nothing about how far seeds matter")
    k, other_k = ours.shape[-2], theirs.shape[-2]
    rests = _rest(ours), _rest(theirs)
    parts, noise = _examples(
        ours.mean(-2) - theirs.mean(-2), rests[0] / k + rests[1] / other_k, rests[0] + rests[1], pseudo
    )
    seeds = _welch(ours.mean(-1), theirs.mean(-1))
    seeds = replace(seeds, variance=seeds.variance * _weight(parts, pseudo) ** 2)
    return replace(parts, seeds=seeds, examples=np.maximum(parts.examples - noise, 0.0))


def only_seeds(means: Array) -> Parts:
    """Return the parts for numbers [..., k] of which there is one a seed. Raises ValueError for less than two."""
    if means.shape[-1] < 2 or not np.isfinite(means).all():
        raise ValueError("numbers of at least two seeds are needed")
    k = means.shape[-1]
    return _without_examples(means.mean(-1), SeedPart(means.var(-1, ddof=1) / k, k - 1))


def seeds_of_two(ours: Array, theirs: Array) -> Parts:
    """Return the parts for the difference of two arms' numbers, [..., k] and [..., l]: one a seed, seeds not shared.

    This is Welch's test. Raises ValueError for less than two.
    """
    if min(ours.shape[-1], theirs.shape[-1]) < 2:
        raise ValueError("numbers of at least two seeds are needed")
    return _without_examples(ours.mean(-1) - theirs.mean(-1), _welch(ours, theirs))


def _without_examples(value: Array, seeds: SeedPart) -> Parts:
    zero = np.zeros_like(value)
    return Parts(value, value, seeds, zero, zero, 0, np.inf)


def _welch(ours: Array, theirs: Array) -> SeedPart:
    """Return the variance of the difference of two means over seeds, with Satterthwaite's degrees of freedom."""
    one, other = (means.var(-1, ddof=1) / means.shape[-1] for means in (ours, theirs))
    freedoms = ours.shape[-1] - 1, theirs.shape[-1] - 1
    spread = one**2 / freedoms[0] + other**2 / freedoms[1]
    freedom = np.square(one + other) / np.maximum(spread, np.finfo(float).tiny)
    return SeedPart(one + other, np.maximum(freedom, min(freedoms)))


def _refuse(scores: Array) -> None:
    if scores.shape[-1] < 2 or scores.shape[-2] < 1:
        raise ValueError("at least two examples and one seed are needed")
    if not np.isfinite(scores).all():
        raise ValueError("not every score is a finite number")


def _rest(scores: Array) -> Array:
    """Return the mean square of what neither seeds nor examples explain (0 for a single seed)."""
    k, n = scores.shape[-2:]
    if k == 1:
        return np.zeros(scores.shape[:-2])
    rest = (
        scores - scores.mean(-1, keepdims=True) - scores.mean(-2, keepdims=True) + scores.mean((-2, -1), keepdims=True)
    )
    return np.square(rest).sum((-2, -1)) / ((k - 1) * (n - 1))


def _examples(means: Array, noise: Array, cell: Array, pseudo: Pseudo | None) -> tuple[Parts, Array]:
    """Return the parts that examples' means [..., n] over seeds give, and how much of their variance is the rest's.

    `noise` is the rest's variance in one example's mean, `cell` that of a single seed.
    """
    n = means.shape[-1]
    value = means.mean(-1)
    centred = means - value[..., None]
    squares = np.square(centred).sum(-1)
    if pseudo is None:
        spread = np.sqrt(squares / n)
        skewness = np.divide((centred**3).mean(-1), spread**3, out=np.zeros_like(spread), where=spread > 1e-12)
        return Parts(value, value, None, squares / ((n - 1) * n), skewness, n, n - 1), noise / n
    total = n + pseudo.count
    centre = (value * n + pseudo.centre * pseudo.count) / total
    # Pseudo-examples vary from seed to seed as real ones do, so that as little of them is left in a mean over seeds.
    observed = squares / (n - 1)
    whole = observed + cell - noise
    kept = np.divide(observed, whole, out=np.ones_like(whole), where=whole > 1e-12)
    added = pseudo.count * (pseudo.spread * kept + np.square(pseudo.centre - centre))
    squares = squares + n * np.square(value - centre) + added
    return Parts(value, centre, None, squares / total**2, np.zeros_like(value), n, np.inf), noise * n / total**2


def _weight(parts: Parts, pseudo: Pseudo | None) -> float:
    """Return how much real examples count in the centre."""
    return parts.count / (parts.count + (pseudo.count if pseudo is not None else 0))


def limits(parts: Parts, level: float = LEVEL) -> tuple[Array, Array]:
    """Return the ends of the two-sided interval that covers the truth with probability `level`."""
    alpha = np.full(parts.value.shape, 1 - level)
    error = np.sqrt(parts.variance)
    return parts.centre - quantile(parts, alpha, 1.0) * error, parts.centre + quantile(parts, alpha, -1.0) * error


def p_value(parts: Parts) -> Array:
    """Return the two-sided p of a true mean of 0: 1 less the highest level whose interval leaves 0 out.

    NaN where there is no variance.
    """
    error = np.sqrt(parts.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(error > 0, np.abs(parts.centre) / error, np.nan)
    side = np.where(parts.centre > 0, 1.0, -1.0)
    low, high = np.full(distance.shape, _SMALLEST), np.zeros(distance.shape)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        outside = distance > quantile(parts, np.exp(middle), side)
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
    return np.where(np.isnan(distance), np.nan, np.exp(high))


def quantile(parts: Parts, alpha: Array, side: Array | float) -> Array:
    """Return how many standard errors the interval of level 1 − alpha reaches: down for side 1, up for side −1.

    (Down goes the upper quantile of the studentised mean, up its lower one.)
    """
    from scipy.special import stdtrit

    tail = alpha / 2
    critical = _bent(-stdtrit(parts.freedom, tail), parts, side) if parts.count else np.zeros_like(alpha)
    if parts.seeds is None:
        return critical
    whole = parts.variance
    weight = np.divide(parts.seeds.variance, whole, out=np.zeros_like(whole), where=whole > 0) ** _JOIN
    # As a sum of two parts, never as a difference: for a small alpha one is many orders above the other.
    return np.sqrt(weight * np.square(stdtrit(parts.seeds.freedom, tail)) + (1 - weight) * np.square(critical))


def _bent(t: Array, parts: Parts, side: Array | float) -> Array:
    """Return the distance, in standard errors, that Student's quantile `t` > 0 becomes for skewed scores."""
    bend = side * parts.skewness / np.sqrt(parts.count)
    straight = np.abs(bend) < 1e-9
    safe = np.where(straight, 1.0, bend)
    return np.maximum(np.where(straight, t, 3 / safe * (np.cbrt(1 + safe * (t - safe / 6)) - 1)), 0.0)


def binary(*scores: Array) -> bool:
    """Return whether scores are right (1), wrong (0), or a tie (0.5), and nothing else."""
    return all(bool(np.isin(one, (0.0, 0.5, 1.0)).all()) for one in scores)
