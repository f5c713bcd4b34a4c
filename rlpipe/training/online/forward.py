"""Log-probabilities of completion tokens, and nothing that a loss does not need.

    with accelerator.autocast():
        for batch in micro_batches(rollouts, max_tokens=8192, costs=costs(model)):
            scored = forward(model, batch, temperature=1.0)
            loss(scored.logps, scored.rollout, ...).backward()

Mixed precision is the caller's: the parts of the model are called here, not the `model.forward` that accelerate wraps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from rlpipe.core.errors import ModelError, TrainingError
from rlpipe.engines.decoder import causal_lm, hidden_states, inside, logits
from rlpipe.engines.rollout import Rollout
from rlpipe.engines.row_costs import Costs
from rlpipe.engines.shared_prefix import block_masks, costs, support
from rlpipe.models.lockstep import evaluating
from rlpipe.models.sharding import is_sharded
from rlpipe.training.online.logprobs import token_logps
from rlpipe.training.online.packing import MicroBatch, micro_batches
from rlpipe.training.online.rows import Rows, rows

__all__ = ["Scored", "forward", "sequence_logps"]


@dataclass
class Scored:
    """What a micro-batch's completion tokens got; n tokens, rollout after rollout, tool results included."""

    logps: Tensor
    """Natural-log probability of each token at the temperature [n], float32, differentiable."""
    entropies: Tensor
    """Entropy in nats of the distribution that each token was drawn from [n], float32, differentiable."""
    hidden: Tensor | None
    """The hidden state that each token was predicted from [n, H], differentiable; None unless asked for."""
    rollout: Tensor
    """The rollout of each token [n], counted within the micro-batch."""
    position: Tensor
    """The token's index in its rollout's `ids` [n]."""


def forward(
    model: nn.Module,
    batch: MicroBatch,
    temperature: float,
    hidden: bool = False,
) -> Scored:
    """Score a micro-batch's completion tokens under the model, whose logits are divided by `temperature`.

    Takes plain, PEFT- and DDP-wrapped causal language models, and those in shards. Equal to one row per rollout up to
    rounding, gradients too. Raises TrainingError for a temperature that divides by
    nothing, ModelError for a shared row that the model cannot take.
    """
    if temperature <= 0:
        raise TrainingError("", f"log-probabilities at temperature {temperature} are not defined", "give one above 0")
    inner = causal_lm(model)
    found = support(inner)
    if batch.shared and not found.shared:
        raise ModelError("", f"completions share a row, but {found.reason}", "pack with shared_prefix.costs(model)")
    laid = rows(batch, inner.device)
    whole = is_sharded(model) and not found.head  # then its own forward is all that gathers its weights

    def score() -> tuple[Tensor, ...]:
        head = partial(logits, inner) if found.head else nn.Identity()
        inputs, states = _states(model if whole else inner, laid, batch.shared, found.head, hidden)
        scored = token_logps(head, found.vocabulary, inputs, laid.targets, temperature)
        return scored if states is None else (*scored, states)

    logps, entropies, *kept = score() if whole else inside(model, laid.ids, score)
    return Scored(logps, entropies, kept[0] if kept else None, laid.rollout, laid.position)


def sequence_logps(
    model: nn.Module,
    rollouts: Sequence[Rollout],
    temperature: float,
    max_tokens: int,
    packing: Costs | None = None,
) -> list[Tensor]:
    """Return the log-probabilities of each rollout's tokens, in order, each [len(ids)], without gradient or dropout.

    For reference and old log-probabilities. `max_tokens` bounds a micro-batch; `packing` is `costs(model)` when None.
    """
    found: list[Tensor] = [torch.empty(0)] * len(rollouts)
    with torch.no_grad(), evaluating(model):
        for batch in micro_batches(rollouts, max_tokens, packing or costs(model)):
            logps = forward(model, batch, temperature).logps
            parts = logps.split([len(rollout.ids) for rollout in batch.rollouts])
            for index, part in zip(batch.indices, parts, strict=True):
                found[index] = part
    return found


def _states(inner: nn.Module, laid: Rows, shared: bool, apart: bool, hidden: bool) -> tuple[Tensor, Tensor | None]:
    """Return what the head takes for each completion token (or its logits, where it has none), and hidden states.

    Rows of one completion go without a mask: padding stands on the right, where a causal model sees none of it.
    """
    if apart:
        mask = block_masks(inner, laid) if shared else None
        states = hidden_states(inner, laid.ids, laid.positions if shared else None, mask)
        chosen = states.flatten(0, 1).index_select(0, laid.sources)
        return chosen, chosen if hidden else None
    output = inner(input_ids=laid.ids, use_cache=False, output_hidden_states=hidden)
    chosen = output.logits.flatten(0, 1).index_select(0, laid.sources)
    return chosen, output.hidden_states[-1].flatten(0, 1).index_select(0, laid.sources) if hidden else None
