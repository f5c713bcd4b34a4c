"""Studies with known truth: scores of two arms over seeds and examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Studies:
    """Many studies of the same kind: scores [studies, k, n] of both arms, and what they estimate, [studies]."""

    ours: Array
    theirs: Array
    our_truth: Array
    their_truth: Array
    binary: bool


def continuous(count: int, k: int, n: int, seed_spread: float, skewed: bool, rng: int, gap: float = 0.0) -> Studies:
    """Scores that add up effects of the seed and of the example (shared, and of the arm alone), and noise."""
    draw = np.random.default_rng(rng)

    def examples(*shape: int) -> Array:
        return draw.exponential(size=shape) - 1 if skewed else draw.normal(size=shape)

    seeds = draw.normal(size=(2, count, k, 1)) * seed_spread
    scores = examples(count, 1, n) + 0.5 * examples(2, count, 1, n) + seeds + draw.normal(size=(2, count, k, n))
    # A single seed is not varied: the truth is that of its own models.
    truth = seeds[:, :, 0, 0] if k == 1 else np.zeros((2, count))
    return Studies(scores[0] + gap, scores[1], truth[0] + gap, truth[1], binary=False)


def right_and_wrong(count: int, k: int, n: int, seed_spread: float, rng: int, gap: float = 0.5) -> Studies:
    """Scores 1 where a normal number with those effects is above 0; examples are from easy to hard."""
    from scipy.special import ndtr

    draw = np.random.default_rng(rng)
    level = draw.uniform(-1.5, 1.5, count) + np.array([[gap], [0.0]])
    seeds = draw.normal(size=(2, count, k, 1)) * seed_spread
    shared, own, noise = 1.5, 0.7, 1.0
    latent = level[:, :, None, None] + seeds + shared * draw.normal(size=(count, 1, n))
    latent = latent + own * draw.normal(size=(2, count, 1, n)) + noise * draw.normal(size=(2, count, k, n))
    within = shared**2 + own**2 + noise**2
    if k == 1:
        truth = ndtr((level + seeds[:, :, 0, 0]) / np.sqrt(within))
    else:
        truth = ndtr(level / np.sqrt(within + seed_spread**2))
    scores = (latent > 0).astype(float)
    return Studies(scores[0], scores[1], truth[0], truth[1], binary=True)


def percentile_bootstrap(scores: Array, draw: np.random.Generator, resamples: int = 500) -> tuple[float, float]:
    """Return the plain hierarchical bootstrap's interval: seeds drawn with replacement, and examples."""
    k, n = scores.shape
    seeds = draw.multinomial(k, np.full(k, 1 / k), size=resamples) / k
    examples = draw.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    means = np.einsum("rk,kn,rn->r", seeds, scores, examples, optimize=True)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
