"""The value function: a linear layer on hidden states, the policy's own or those of a copy of the starting model.

Importing this module imports torch. Its weights are no part of the policy: they stand in checkpoints and in the
optimiser, but not in the exported model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlpipe.engines.decoder import causal_lm, hidden_states, inside
from rlpipe.engines.rollout import Rollout
from rlpipe.engines.row_costs import Costs
from rlpipe.engines.shared_prefix import block_masks, support
from rlpipe.models.lockstep import evaluating
from rlpipe.training.online.forward import forward
from rlpipe.training.online.packing import MicroBatch, micro_batches
from rlpipe.training.online.rows import rows

FILE = "values.safetensors"


class Values(nn.Module):
    """What the rest of a completion will earn, seen from the state before each token."""

    def __init__(self, policy: nn.Module, trunk: nn.Module | None, device: torch.device):
        """Start with the value 0 everywhere; `trunk` is a copy of the policy, or None to stand on the policy itself."""
        super().__init__()
        inner = causal_lm(policy)
        size = inner.config.get_text_config().hidden_size
        self.head = nn.Linear(size, 1, dtype=torch.float32, device=device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.trunk = trunk
        if trunk is not None and (output := causal_lm(trunk).get_output_embeddings()) is not None:
            tied = output.weight is causal_lm(trunk).get_input_embeddings().weight
            if not tied:
                output.requires_grad_(False)

    def on(self, batch: MicroBatch, hidden: Tensor | None) -> Tensor:
        """Return the value before each of a micro-batch's n completion tokens [n], differentiable.

        `hidden` [n, H] are the policy's states, which a value function without a model of its own stands on.
        """
        states = hidden if self.trunk is None else _states(self.trunk, batch)
        assert states is not None
        with torch.autocast(states.device.type, enabled=False):
            return self.head(states.float()).squeeze(-1)

    def of(self, policy: nn.Module, rollouts: Sequence[Rollout], max_tokens: int, packing: Costs) -> list[Tensor]:
        """Return the values before each rollout's tokens, each [len(ids)], without gradient or dropout."""
        found: list[Tensor] = [torch.empty(0)] * len(rollouts)
        model = policy if self.trunk is None else self.trunk
        with torch.no_grad(), evaluating(model):
            for batch in micro_batches(rollouts, max_tokens, packing):
                values = self.on(batch, _states(policy, batch) if self.trunk is None else None)
                parts = values.split([len(rollout.ids) for rollout in batch.rollouts])
                for index, part in zip(batch.indices, parts, strict=True):
                    found[index] = part
        return found

    def trained(self) -> dict[str, Tensor]:
        """Return the trained weights, in the memory where they are."""
        return {name: weight.detach() for name, weight in self.named_parameters() if weight.requires_grad}

    def save(self, folder: Path) -> None:
        """Write the trained weights into a checkpoint's folder."""
        from safetensors.torch import save_file

        save_file({name: weight.contiguous() for name, weight in self.trained().items()}, str(folder / FILE))

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote."""
        from safetensors.torch import load_file

        parameters: dict[str, Any] = dict(self.named_parameters())
        with torch.no_grad():
            for name, tensor in load_file(str(folder / FILE)).items():
                parameters[name].copy_(tensor)


def _states(model: nn.Module, batch: MicroBatch) -> Tensor:
    """Return the hidden state that each completion token is predicted from [n, H]; no logits are made."""
    inner = causal_lm(model)
    if not support(inner).head:
        found = forward(model, batch, 1.0, hidden=True).hidden
        assert found is not None
        return found
    laid = rows(batch, inner.device)
    mask = block_masks(inner, laid) if batch.shared else None

    def states() -> tuple[Tensor]:
        made = hidden_states(inner, laid.ids, laid.positions if batch.shared else None, mask)
        return (made.flatten(0, 1).index_select(0, laid.sources),)

    return inside(model, laid.ids, states)[0]
