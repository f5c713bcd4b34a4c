"""Log-probabilities and entropies of chosen tokens, without keeping the logits of a large vocabulary.

With z = logits / temperature and p = softmax(z):
    log p(t) = z_t - logsumexp(z)                 gradient to z: onehot(t) - p
    H        = logsumexp(z) - sum_v p_v z_v       gradient to z_v: -p_v (log p_v + H)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from rlpipe.engines.decoder import chunk_length

KEPT = 2**26
"""Probabilities that are kept for the backward pass (256 MiB in float32); above, they are computed again."""


def token_logps(
    head: Callable[[Tensor], Tensor],
    vocabulary: int,
    states: Tensor,
    targets: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities [n] and entropies [n], in nats and float32, of `targets` [n] under `head(states)`.

    `states` is [n, H], `head` gives logits [n, V], V is `vocabulary`. At most one float32 [n, V] is kept for the
    backward pass; where n · V exceeds `KEPT`, none is, and the head runs again there.
    """
    size = chunk_length(vocabulary, states.device)

    def score(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return _TokenLogps.apply(head(states), targets, temperature)

    again = torch.is_grad_enabled() and len(targets) * vocabulary > KEPT
    parts = []
    for chunk, wanted in zip(states.split(size), targets.split(size), strict=True):
        if again:
            parts.append(checkpoint(score, chunk, wanted, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(score(chunk, wanted))
    logps, entropies = zip(*parts, strict=True)
    return torch.cat(logps), torch.cat(entropies)


class _TokenLogps(torch.autograd.Function):
    """The formulas of the module's docstring, in float32, with the probabilities as the only thing kept."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        scaled = logits.float() / temperature
        scaled -= scaled.amax(-1, keepdim=True)
        chosen = scaled.gather(-1, targets[:, None]).squeeze(-1)
        probabilities = scaled.exp()
        total = probabilities.sum(-1)
        log_total = total.log()
        mean = torch.linalg.vecdot(probabilities, scaled.clamp_(min=torch.finfo(torch.float32).min)) / total
        probabilities /= total[:, None]
        entropies = log_total - mean
        ctx.save_for_backward(probabilities, targets, entropies)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        ctx.set_materialize_grads(False)
        return chosen - log_total, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, logp_gradient: Tensor | None, entropy_gradient: Tensor | None) -> tuple[Any, ...]:
        probabilities, targets, entropies = ctx.saved_tensors
        if logp_gradient is None and entropy_gradient is None:
            return None, None, None
        if logp_gradient is None:
            logp_gradient = torch.zeros_like(entropies)
        gradient = probabilities * -logp_gradient[:, None]
        gradient.scatter_add_(-1, targets[:, None], logp_gradient[:, None])
        if entropy_gradient is not None:
            rises = torch.xlogy(probabilities, probabilities).addcmul_(probabilities, entropies[:, None])
            gradient -= rises.mul_(entropy_gradient[:, None])
        return gradient.div_(ctx.temperature).to(ctx.dtype), None, None
