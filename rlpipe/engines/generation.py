"""A model that writes: prompts go in once, then every row goes on token by token.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from rlpipe.core.errors import ModelError
from rlpipe.engines.cache import ForkedLayer, drop, fork, make_cache
from rlpipe.engines.scoring import without_gradients
from rlpipe.engines.shared_attention import SharedLayer, is_sharing, share, sharing

if TYPE_CHECKING:
    from rlpipe.models.base import Loaded


@contextmanager
def writing(loaded: Loaded) -> Iterator[None]:
    """Put a model into the state in which it writes, and back into the state that it was in.

    No dropout, no gradients. One autocast context spans all steps, so that weights are cast once; autocast keeps
    casts only of weights that require a gradient, so frozen ones (the base under LoRA) count as such meanwhile.
    """
    model = loaded.model
    modes = [(module, module.training) for module in model.modules()]
    floats = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    casts = loaded.autocast and not loaded.sharded  # shards are gathered in bfloat16 as it is
    frozen = [parameter for parameter in floats if not parameter.requires_grad] if casts else []
    device = model.device.type
    model.eval()
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        autocast = torch.autocast(device, dtype=torch.bfloat16, enabled=loaded.autocast)
        with without_gradients(loaded), autocast, sharing(loaded):
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, training in modes:
            module.training = training


class Generation:
    """Rows that continue prompts. `logits` [rows, V] are those of every row's next token."""

    def __init__(self, loaded: Loaded, prompts: Sequence[list[int]], of: Sequence[int], room: int):
        """Read each prompt once; row i goes on from prompt `of[i]`, for at most `room` tokens."""
        self.model: Any = loaded.model
        self.device = loaded.model.device
        ids, mask = _padded(prompts, loaded)
        self.cache = make_cache(loaded.model.config, SharedLayer if is_sharing(loaded) else ForkedLayer)
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        logits = self._forward(ids, mask, positions)
        if not any(isinstance(one, ForkedLayer) and one.get_seq_length() == ids.shape[1] for one in self.cache.layers):
            raise ModelError(
                "",
                (
                    f"{type(loaded.model).__name__} keeps no keys and values in transformers' cache, so it cannot be "
                    "sampled from"
                ),
                "choose a decoder that supports past_key_values",
            )
        index = torch.tensor(of, device=self.device)
        self._groups = share(self.cache, of, room, self.device)
        if self._groups is None:
            fork(self.cache, index, room)
        self.logits = logits[index]
        self._positions = mask.sum(dim=-1, keepdim=True)[index]
        self._length = ids.shape[1]
        padded = bool((mask == 0).any())
        self._mask = _roomy(mask[index], room) if padded else None

    @property
    def rows(self) -> int:
        """How many rows are being written."""
        return len(self.logits)

    def step(self, tokens: Sequence[int]) -> None:
        """Add one token to every row and compute the logits of the next."""
        ids = torch.tensor(tokens, device=self.device).unsqueeze(1)
        self._length += 1
        mask = None if self._mask is None else self._mask[:, : self._length]
        self.logits = self._forward(ids, mask, self._positions)
        self._positions = self._positions + 1

    def drop(self, gone: list[int]) -> list[int]:
        """Take finished rows out; return which row of before stands at each place now. `step` must follow."""
        order = drop(self.cache, gone, self.rows, self.device)
        if self._groups is not None:
            self._groups.reorder(order, self.cache)
        places = torch.tensor(order, dtype=torch.long, device=self.device)
        self.logits, self._positions = self.logits[places], self._positions[places]
        self._mask = None if self._mask is None else self._mask[places]
        return order

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor) -> torch.Tensor:
        """Return the last token's logits [rows, V]."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,  # also where gradient checkpointing has turned it off in the model's config
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def _padded(prompts: Sequence[list[int]], loaded: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prompts as ids and mask [B, T], padded at the left."""
    length = max(map(len, prompts))
    ids = torch.full((len(prompts), length), loaded.tokenizer.pad_token_id or 0, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = torch.tensor(prompt)
        mask[row, length - len(prompt) :] = 1
    return ids.to(loaded.model.device), mask.to(loaded.model.device)


def _roomy(mask: torch.Tensor, room: int) -> torch.Tensor:
    return torch.cat([mask, mask.new_ones(len(mask), room)], dim=1)
