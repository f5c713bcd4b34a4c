"""Policy and value losses: pure functions of log-probabilities and advantages.

Importing this module imports torch. Tokens are flat: n completion tokens of m completions, `rollout` [n] says
whose. A loss is a sum over tokens with `weights` [n], which are 0 on tokens that the model did not write and
otherwise decide how completions of different lengths count; they are made for a whole batch, so that
micro-batches and processes only add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass
class Loss:
    """A loss, and how often its clip was active."""

    value: Tensor
    """The scalar to differentiate."""
    clipped: Tensor
    """Share of clipped tokens, weighted like the loss's tokens but counted once each: [n] of 0 and 1."""


def kl_estimate(logps: Tensor, reference: Tensor, estimator: str) -> Tensor:
    """Estimate the KL from policy to reference at each sampled token (Schulman, joschu.net/blog/kl-approx.html).

    With d = log π − log π_ref: k1 is d (unbiased, may be negative), k2 is d²/2 (its gradient on-policy is that of
    the true KL), k3 is exp(−d) − 1 + d (unbiased, never negative). All [n].
    """
    difference = logps - reference
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    return torch.expm1(-difference) + difference


def kl_loss(logps: Tensor, old: Tensor, reference: Tensor, weights: Tensor, estimator: str) -> Tensor:
    """Return the KL from policy to reference as a term of the loss: a scalar whose gradient is the KL's own.

    k1 and k3 are weighted by the ratio of new to old probability: without it their values are right, but not their
    gradients (arXiv:2512.02556; k1's would be 0 in the mean). k2 has the right gradient as it is.
    """
    estimate = kl_estimate(logps, reference, estimator)
    if estimator != "k2":
        estimate = torch.exp(logps - old) * estimate
    return (weights * estimate).sum()


def token_weights(written: Tensor, lengths: Tensor, aggregate: str, constant: int) -> Tensor:
    """Return how much each token of a whole batch counts: [n], for `written` [n] and token counts [R].

    `completion`: the mean over completions of each one's mean (GRPO, arXiv:2402.03300); `token`: the mean over
    all tokens (DAPO, arXiv:2503.14476); `constant`: sums over completions, divided by R · `constant` (Dr. GRPO,
    arXiv:2503.20783); `sum`: the mean over completions of each one's sum.
    """
    count = len(lengths)
    mask = written.to(torch.float32)
    if aggregate == "token":
        return mask / mask.sum().clamp(min=1)
    if aggregate == "constant":
        return mask / (count * constant)
    if aggregate == "sum":
        return mask / count
    rollout = torch.repeat_interleave(torch.arange(count, device=lengths.device), lengths)
    tokens = mask.new_zeros(count).index_add_(0, rollout, mask)
    return mask / (count * tokens.clamp(min=1)[rollout])


def clipped_tokens(
    logps: Tensor, old: Tensor, advantages: Tensor, weights: Tensor, clip: float, clip_high: float | None = None
) -> Loss:
    """PPO's clipped surrogate, one ratio a token (see `clipped_ratios`). All [n]."""
    return clipped_ratios(torch.exp(logps - old), advantages, weights, clip, clip_high)


def clipped_completions(
    logps: Tensor,
    old: Tensor,
    advantages: Tensor,
    weights: Tensor,
    rollout: Tensor,
    clip: float,
    clip_high: float | None = None,
) -> Loss:
    """Clipped surrogate with one ratio a completion, that of its whole probability, as in TRL's RLOOTrainer.

    Advantages are one a completion, repeated on its tokens; the weights of its tokens are equal. All [n].
    """
    ratio = torch.exp(totals(torch.where(weights > 0, logps - old, 0.0), rollout))
    # A completion's loss stands once: its tokens share it equally.
    weights = weights / totals((weights > 0).to(weights.dtype), rollout).clamp(min=1)
    return clipped_ratios(ratio, advantages, weights, clip, clip_high)


def clipped_weights(
    logps: Tensor, ratio: Tensor, advantages: Tensor, weights: Tensor, clip: float, clip_high: float | None = None
) -> Loss:
    """REINFORCE with clipped importance weights, through which no gradient goes (CISPO, arXiv:2506.13585, equation 4).

    However far a token's ratio is, its log-probability is still trained. All [n].
    """
    high = clip if clip_high is None else clip_high
    ratio = ratio.detach()
    bounded = ratio.clamp(1 - clip, 1 + high)
    value = -(weights * bounded * advantages * logps).sum()
    return Loss(value, ((bounded != ratio) & (weights > 0)).to(weights.dtype))


def sequence_ratios(logps: Tensor, old: Tensor, weights: Tensor, rollout: Tensor) -> Tensor:
    """Give every token the geometric mean of its completion's ratios of new to old probability [n].

    As in GSPO (arXiv:2507.18071, equation 7). Tokens of weight 0 do not count.
    """
    tokens = totals((weights > 0).to(weights.dtype), rollout).clamp(min=1)
    return torch.exp(totals(torch.where(weights > 0, logps - old, 0.0), rollout) / tokens)


def totals(values: Tensor, rollout: Tensor) -> Tensor:
    """Give every token the sum over its completion [n]."""
    count = int(rollout.max()) + 1 if len(rollout) else 0
    return values.new_zeros(count).index_add(0, rollout, values)[rollout]


def clipped_ratios(
    ratio: Tensor, advantages: Tensor, weights: Tensor, clip: float, clip_high: float | None = None
) -> Loss:
    """The lesser of the ratio times the advantage with and without clipping (arXiv:1707.06347, equation 7). All [n].

    Ratios are clipped to [1 − clip, 1 + clip_high]; `clip_high` is `clip` unless given (arXiv:2503.14476).
    """
    high = clip if clip_high is None else clip_high
    bounded = ratio.clamp(1 - clip, 1 + high)
    value = -(weights * torch.minimum(ratio * advantages, bounded * advantages)).sum()
    clipped = ((ratio < 1 - clip) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))
    return Loss(value, (clipped & (weights > 0)).to(weights.dtype).detach())


def policy_gradient(logps: Tensor, old: Tensor, advantages: Tensor, weights: Tensor) -> Loss:
    """REINFORCE (Williams 1992), with importance weights for tokens of an older policy; nothing is clipped. All [n]."""
    ratio = torch.exp(logps - old)
    return Loss(-(weights * ratio * advantages).sum(), torch.zeros_like(weights))


def preference(
    logps: Tensor,
    reference: Tensor,
    choices: Tensor,
    weights: Tensor,
    rollout: Tensor,
    group_size: int,
    beta: float,
    ipo: bool = False,
) -> Loss:
    """DPO's loss of one pair in each group (arXiv:2305.18290, equation 7), or IPO's (arXiv:2310.12036, equation 17).

    `choices` is 1 on the tokens of a group's chosen completion, −1 on those of its rejected one, and 0 on all others;
    a group without a pair adds nothing. Groups are whole, and completions weighted by `sum`. All [n].
    """
    count = int(rollout.max()) + 1
    gains = logps.new_zeros(count).index_add(0, rollout, torch.where(weights > 0, choices * (logps - reference), 0.0))
    paired = choices.new_zeros(count).index_add(0, rollout, choices.abs()).view(-1, group_size).sum(1) > 0
    margins = gains.view(-1, group_size).sum(1)[paired]
    losses = (margins - 1 / (2 * beta)).square() if ipo else -logsigmoid(beta * margins)
    return Loss(weights.max() * group_size * losses.sum(), torch.zeros_like(weights))


def clipped_values(values: Tensor, old: Tensor, returns: Tensor, weights: Tensor, clip: float | None) -> Loss:
    """Half the squared error of values, the larger of clipped and unclipped (arXiv:2005.12729). All [n].

    Values are clipped to within `clip` of the old ones; None clips nothing.
    """
    error = (values - returns).square()
    if clip is None:
        return Loss((weights * error).sum() / 2, torch.zeros_like(weights))
    bounded = (old + (values - old).clamp(-clip, clip) - returns).square()
    clipped = ((bounded > error) & (weights > 0)).to(weights.dtype)
    return Loss((weights * torch.maximum(error, bounded)).sum() / 2, clipped.detach())
