"""What the win rate would be if both responses had the same length.

Length-controlled AlpacaEval (arXiv:2404.04475, section 3) explains preferences by a logistic regression and
predicts them without the length term. With one policy and one reference its terms are

    logit P(policy wins on x) = θ + φ · tanh((len(policy's response) − len(reference's)) / s)

where s is the standard deviation of these differences over the examples, and the length-controlled win rate
is the prediction without the second term: 1 / (1 + exp(−θ)). The paper's third term, the difficulty of an
instruction, needs preferences of many models on the same instructions and is left out.

θ and φ have a normal prior of mean 0 and variance 100 (an L2 penalty; AlpacaEval's own C = 100). A tie is
half a win and half a loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR_VARIANCE = 100.0
PRECISION = 1e-9
"""The gradient that counts as none."""


def length_controlled_win_rate(scores: Sequence[float], differences: Sequence[float]) -> float | None:
    """Return the win rate at equal lengths, from 0 to 1.

    `scores` [N] are 1 for a win of the policy, 0.5 for a tie, 0 for a loss; `differences` [N] say by how much the
    policy's response is longer. Where all lengths are equal it is the win rate itself. None where all differences
    are the same but not 0: nothing then tells length from quality. Raises ValueError without examples, and for
    scores outside 0 … 1.
    """
    won, longer = np.asarray(scores, dtype=float), np.asarray(differences, dtype=float)
    if not won.size or won.shape != longer.shape:
        raise ValueError(f"{won.size} scores and {longer.size} differences in length are no examples")
    if not ((won >= 0) & (won <= 1)).all() or not np.isfinite(longer).all():
        raise ValueError("scores lie between 0 and 1, and differences are finite")
    if not longer.any():
        return float(won.mean())
    if (longer == longer[0]).all():
        return None

    from scipy.special import expit

    features = np.stack([np.ones_like(longer), np.tanh(longer / longer.std(ddof=1))], axis=1)
    return float(expit(fit(features, won)[0]))


def fit(features: Floats, targets: Floats, variance: float = PRIOR_VARIANCE) -> Floats:
    """Return the coefficients [K] of a logistic regression of `targets` [N] in 0 … 1 on `features` [N, K].

    Those that maximise Σ y·log p + (1 − y)·log(1 − p) − |β|² / (2·variance): the one root of its gradient, which falls
    strictly. Raises RuntimeError where SciPy does not find it.
    """
    from scipy.optimize import root
    from scipy.special import expit

    def gradient(beta: Floats) -> Floats:
        return np.asarray(features.T @ (targets - expit(features @ beta)) - beta / variance)

    def curvature(beta: Floats) -> Floats:
        p = expit(features @ beta)
        return np.asarray(-(features * (p * (1 - p))[:, None]).T @ features - np.eye(len(beta)) / variance)

    found = root(gradient, np.zeros(features.shape[1]), jac=curvature, tol=1e-12)
    # Near the root the solver may stop at rounding errors and call that no success: the gradient itself tells. The
    # prior curves by 1 / variance at least, so that no coefficient is further off than variance times this.
    if not np.abs(gradient(found.x)).max() < PRECISION:
        raise RuntimeError(f"the logistic regression of {len(targets)} scores has not converged: {found.message}")
    return np.asarray(found.x)
