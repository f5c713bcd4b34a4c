"""Off-policy by rounding: what an engine drew and what the policy would have drawn are not quite the same.

Of each token there are three log-probabilities: the engine's when it was drawn, the policy's at that time (old), and
the policy's now. A policy loss handles old against now; here is engine against old.

Importing this module imports torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlpipe.methods.losses import totals

if TYPE_CHECKING:
    from rlpipe.methods.batch import Batch

USUAL = (0.9, 1.1)
"""The ratios that rounding alone leads to."""


def log_ratios(batch: Batch) -> Tensor:
    """Return log π_old − log π_engine of each token [n], 0 for those that the model did not write."""
    assert batch.old is not None
    return torch.where(batch.written, batch.old - batch.engine, 0.0)


def factors(batch: Batch, correction: str, level: str, cap: float) -> Tensor:
    """Return what the policy loss of each token is multiplied with [n]: the ratio π_old / π_engine, bounded.

    `level` says of what the ratio is taken: of each `token`, or of each whole `completion`. `truncate` bounds it from
    above by `cap` (V-trace, arXiv:1802.01561; verl's rollout correction);
    `mask` puts 0 in place of ratios outside [1 / cap, cap].
    """
    logs = log_ratios(batch)
    if level == "completion":
        logs = per_completion(logs, batch.lengths)
    ratios = logs.exp()
    if correction == "truncate":
        return ratios.clamp(max=cap)
    return torch.where(logs.abs() <= math.log(cap), ratios, 0.0)


def per_completion(values: Tensor, lengths: Tensor) -> Tensor:
    """Give every token the sum over its completion [n]."""
    return totals(values, torch.repeat_interleave(lengths))


def numbers(batch: Batch) -> dict[str, float]:
    """Return what there is to correct, over the tokens that the model wrote.

    `ratio_mean` of π_old / π_engine is 1 in expectation, `ratio_outside` the share of tokens outside [0.9, 1.1], `kl`
    the KL from engine to policy (k3 of joschu.net/blog/kl-approx.html), and `effective_sample_size` Kish's, as a share
    of the tokens.
    """
    logs = log_ratios(batch)[batch.written]
    if not len(logs):
        return {}
    ratios = logs.exp()
    found = {
        "ratio_mean": ratios.mean(),
        "ratio_outside": ((ratios < USUAL[0]) | (ratios > USUAL[1])).float().mean(),
        "kl": (torch.expm1(logs) - logs).mean(),
        "effective_sample_size": ratios.sum().square() / (len(ratios) * ratios.square().sum()),
    }
    return {name: float(number) for name, number in found.items()}


def bounded(batch: Batch, cap: float) -> float:
    """Return the share of the model's tokens whose ratio was out of bounds."""
    assert batch.correction is not None
    factors = batch.correction[batch.written]
    return float(((factors == cap) | (factors == 0)).float().mean()) if len(factors) else 0.0
