"""Advantage estimators: pure functions from rewards to what each completion or token is worth.

Importing this module imports torch. R completions stand group by group: completions `k·K … k·K+K−1`
belong to prompt k, for groups of K.
"""

from __future__ import annotations

import torch
from torch import Tensor


def leave_one_out(rewards: Tensor, group_size: int) -> Tensor:
    """Compare each completion with the mean of its group's others (RLOO, arXiv:2402.14740).

    `rewards` is [R], and so is the result. Raises ValueError for groups of one, which have no others.
    """
    if group_size < 2:
        raise ValueError("a leave-one-out baseline needs groups of two or more")
    groups = rewards.view(-1, group_size)
    others = (groups.sum(1, keepdim=True) - groups) / (group_size - 1)
    return (groups - others).view(-1)


def group_normalised(rewards: Tensor, group_size: int, scale: str = "group", epsilon: float = 1e-4) -> Tensor:
    """Compare each completion with its group's mean, in units of a standard deviation (GRPO, arXiv:2402.03300).

    `scale` says whose deviation divides: the `group`'s, that of the whole `batch` (arXiv:2508.08221), or
    `none` (Dr. GRPO, arXiv:2503.20783). Deviations are the unbiased ones, and `epsilon` is added to them, as in
    TRL. `rewards` is [R], and so is the result.
    """
    groups = rewards.view(-1, group_size)
    centred = groups - groups.mean(1, keepdim=True)
    if scale == "group" and group_size > 1:
        centred = centred / (groups.std(1, keepdim=True) + epsilon)
    elif scale == "batch" and rewards.numel() > 1:
        centred = centred / (rewards.std() + epsilon)
    return centred.view(-1)


def each_normalised(scores: Tensor, weights: Tensor, group_size: int, epsilon: float = 1e-4) -> Tensor:
    """Normalise k rewards by groups, add them by weight, and normalise over the batch (GDPO, arXiv:2601.05242).

    `scores` is [R, k], `weights` [k]; the result is [R]. Deviations are the unbiased ones, and `epsilon` is added to
    them, as in TRL.
    """
    each = [group_normalised(scores[:, reward], group_size, "group", epsilon) for reward in range(scores.shape[1])]
    total = torch.stack(each, dim=1) @ weights
    return (total - total.mean()) / (total.std() + epsilon)


def best_and_worst(rewards: Tensor, group_size: int) -> Tensor:
    """Mark each group's best completion with 1 and its worst with −1: [R] to [R].

    The others, and groups in which all earned the same, are 0; of equals the first counts.
    """
    groups = rewards.view(-1, group_size)
    marks = torch.zeros_like(groups)
    marks.scatter_(1, groups.argmin(1, keepdim=True), -1.0).scatter_(1, groups.argmax(1, keepdim=True), 1.0)
    return torch.where(groups.amax(1, keepdim=True) > groups.amin(1, keepdim=True), marks, 0.0).view(-1)


def batch_baseline(rewards: Tensor) -> Tensor:
    """Compare each completion with the mean of all R (REINFORCE with a constant baseline, Williams 1992)."""
    return rewards - rewards.mean()


def whiten(values: Tensor, mask: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over the places of `mask`; the others become 0.

    Shapes are equal and arbitrary.
    """
    chosen = values[mask]
    if chosen.numel() < 2:
        return torch.zeros_like(values)
    spread = chosen.var(unbiased=False)
    return torch.where(mask, (values - chosen.mean()) * torch.rsqrt(spread + epsilon), torch.zeros_like(values))


def spread(per_completion: Tensor, lengths: Tensor) -> Tensor:
    """Give every token its completion's value: [R] and token counts [R] to [n]."""
    return torch.repeat_interleave(per_completion, lengths)


def completion_sums(per_token: Tensor, lengths: Tensor) -> Tensor:
    """Sum over each completion's tokens: [n] and token counts [R] to [R]."""
    rollout = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    return per_token.new_zeros(len(lengths)).index_add_(0, rollout, per_token)


def token_rewards(rewards: Tensor, written: Tensor, lengths: Tensor, penalty: Tensor | None = None) -> Tensor:
    """Put each completion's reward on the last token that the model wrote, less a `penalty` [n] on each token.

    `rewards` is [R], `written` [n] and `lengths` [R]; the result [n] is 0 on tokens that the model did not write.
    """
    result = torch.zeros(len(written), dtype=rewards.dtype, device=rewards.device)
    if penalty is not None:
        result = torch.where(written, -penalty.to(result.dtype), result)
    start = 0
    for completion, length in enumerate(lengths.tolist()):
        actions = written[start : start + length].nonzero()
        if len(actions):
            result[start + int(actions[-1])] += rewards[completion]
        start += length
    return result


def generalised(
    rewards: Tensor, values: Tensor, written: Tensor, lengths: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Estimate advantages and returns by GAE (arXiv:1506.02438, equation 16), one completion after another.

    An action is a token that the model wrote; tool results between two of them are part of the next state. The
    value after the last action is 0. `rewards`, `values`, `written` are [n], `lengths` [R]; both results are [n],
    0 where the model did not write.
    """
    advantages = torch.zeros_like(values)
    start = 0
    for length in lengths.tolist():
        places = (start + written[start : start + length].nonzero().view(-1)).tolist()
        reward, value = rewards[places].tolist(), values[places].tolist()
        later, following = 0.0, 0.0
        found = [0.0] * len(places)
        for step in range(len(places) - 1, -1, -1):
            later = reward[step] + gamma * following - value[step] + gamma * lam * later
            following = value[step]
            found[step] = later
        advantages[places] = torch.tensor(found, dtype=advantages.dtype, device=advantages.device)
        start += length
    return advantages, torch.where(written, advantages + values, torch.zeros_like(values))
