"""Drawing the next token: temperature, top-k, top-p, min-p, and one uniform number a token.

A token is the place where the cumulative probability passes a uniform number (inverse transform
sampling). `torch.multinomial` draws from the same distribution, but takes an exponential variate for
every entry of the vocabulary, which on a CPU costs more than the rest of a decoding step. And with
numbers that belong to a completion, not to a batch, what is drawn does not depend on its neighbours.

Importing this module imports torch.
"""

from __future__ import annotations

import hashlib
import math
from random import Random

import torch

from rlpipe.engines.rollout import SamplingConfig


def uniforms(seed: int, prompt_id: str, index: int, count: int) -> list[float]:
    """Return the `count` numbers in [0, 1) that decide the tokens of one prompt's completion number `index`."""
    key = hashlib.blake2b(f"{seed}\x1f{index}\x1f{prompt_id}".encode(), digest_size=16).digest()
    stream = Random(int.from_bytes(key, "big"))
    return [stream.random() for _ in range(count)]


def draw(logits: torch.Tensor, uniform: torch.Tensor, sampling: SamplingConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token a row from logits [B, V] with uniform numbers [B]; return ids [B] and log-probabilities [B].

    The log-probabilities (float32, natural) are those of the distribution that was drawn from: after
    temperature and after top-k, top-p and min-p have left tokens out. Greedy tokens have 0. Logits that
    are not numbers give a log-probability that is none.
    """
    scores = logits.float()
    if sampling.temperature == 0:
        best, ids = scores.max(dim=-1)
        return ids, best - best
    scores = keep(scores / sampling.temperature, sampling)
    highest = scores.amax(dim=-1, keepdim=True)
    mass = (scores - highest).exp_().cumsum(dim=-1)
    total = mass[:, -1:]
    # Rounding must not lift the number to the total, beyond which no token lies.
    below = torch.nextafter(total, torch.zeros_like(total))
    wanted = torch.minimum((uniform.unsqueeze(1).to(torch.float64) * total).to(mass.dtype), below)
    ids = torch.searchsorted(mass, wanted, right=True).clamp_(max=mass.shape[1] - 1)
    return ids.squeeze(1), (scores.gather(1, ids) - highest - total.log()).squeeze(1)


def keep(scores: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
    """Set the scores [B, V] of tokens that must not be drawn to -inf.

    The filters act one after another, each on what the one before left: top-k (ties with the last one
    stay), top-p (arXiv:1904.09751), min-p (arXiv:2407.01082).
    """
    if 0 < sampling.top_k < scores.shape[-1]:
        last = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < last, -math.inf)
    if sampling.top_p < 1:
        ordered, order = scores.sort(dim=-1, descending=True, stable=True)
        share = ordered.softmax(dim=-1)
        beyond = share.cumsum(dim=-1) - share >= sampling.top_p
        beyond[:, 0] = False
        scores = scores.masked_fill(torch.zeros_like(beyond).scatter_(1, order, beyond), -math.inf)
    if sampling.min_p > 0:
        highest = scores.amax(dim=-1, keepdim=True)
        scores = scores.masked_fill(scores < highest + math.log(sampling.min_p), -math.inf)
    return scores
