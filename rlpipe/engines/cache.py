"""Keys and values of the tokens so far: a prompt's are computed once and then serve all its completions.

transformers' dynamic cache copies all keys and values at every token. These layers take their whole
room when the completions fork off a prompt, write in place, and close the gaps that finished rows
leave by moving rows from the end.

Importing this module imports torch.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer


class ForkedLayer(DynamicLayer):
    """One layer's keys and values [rows, heads, tokens, size].

    Grows by concatenation, as its base does, until `fork`. A layer with a sliding window keeps all
    tokens too: the model's mask hides those that lie outside the window.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: Any
        self.values: Any
        self._length: int | None = None

    def fork(self, index: torch.Tensor, room: int) -> None:
        """Let rows [n] of the prompts be the first tokens of n rows, with room for more tokens in each."""
        self.keys, self.values = _roomy(self.keys, index, room), _roomy(self.values, index, room)
        self._length = self.keys.shape[2] - room

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add new tokens' keys and values; return all so far."""
        if self._length is None:
            return super().update(key_states, value_states)
        start, self._length = self._length, self._length + key_states.shape[2]
        self.keys[:, :, start : self._length] = key_states
        self.values[:, :, start : self._length] = value_states
        return self.keys[:, :, : self._length], self.values[:, :, : self._length]

    def get_seq_length(self) -> int:
        """Return how many tokens are held."""
        return super().get_seq_length() if self._length is None else self._length

    def move(self, sources: list[int], targets: list[int], rows: int) -> None:
        """Copy rows `sources` over rows `targets`, then leave out all beyond the first `rows`."""
        assert self._length is not None
        for source, target in zip(sources, targets, strict=True):
            self.keys[target, :, : self._length] = self.keys[source, :, : self._length]
            self.values[target, :, : self._length] = self.values[source, :, : self._length]
        self.keys, self.values = self.keys[:rows], self.values[:rows]


def _roomy(states: torch.Tensor, index: torch.Tensor, room: int) -> torch.Tensor:
    _, heads, tokens, size = states.shape
    wide = states.new_zeros(len(index), heads, tokens + room, size)
    wide[:, :, :tokens] = states[index]
    return wide


def make_cache(config: PreTrainedConfig, kind: type[ForkedLayer]) -> Cache:
    """Return an empty cache: transformers' own for this model, with layers of `kind` in place of attention layers."""
    layers = DynamicCache(config=config).layers
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    return Cache(layers=[kind() if type(layer) in plain else layer for layer in layers])


def fork(cache: Cache, index: torch.Tensor, room: int) -> None:
    """Let row `index[i]` of the cache become row i, with room for more tokens."""
    layer: Any
    for layer in cache.layers:
        if isinstance(layer, ForkedLayer):
            if layer.is_initialized:  # layers that share another one's keys hold none
                layer.fork(index, room)
        else:
            layer.reorder_cache(index)


def drop(cache: Cache, gone: list[int], rows: int, device: torch.device) -> list[int]:
    """Take rows out of a cache of `rows` rows; return which row of before each place holds now."""
    left = rows - len(gone)
    targets = sorted(row for row in gone if row < left)
    out = set(gone)
    sources = [row for row in range(left, rows) if row not in out]
    order = list(range(left))
    for source, target in zip(sources, targets, strict=True):
        order[target] = source
    layer: Any
    for layer in cache.layers:
        if not isinstance(layer, ForkedLayer):
            layer.reorder_cache(torch.tensor(order, device=device))
        elif layer.is_initialized:
            layer.move(sources, targets, left)
    return order
