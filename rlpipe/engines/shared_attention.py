"""Attention of many completions to the one prompt that they share.

A prompt's keys and values are held once, and the completions' queries go to them together in one
matrix product, as in Hydragen (arXiv:2402.05099): less is read at every token, and the cache holds a
prompt once, not once a completion. For arithmetic in float32 with the `sdpa` implementation; scores
would lose too much as bfloat16 between the two products.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rlpipe.engines.cache import ForkedLayer

if TYPE_CHECKING:
    from rlpipe.models.base import Loaded

NAME = "rlpipe_shared_prompt"


class Groups:
    """Which rows go on from which prompt: each row has a place in a rectangle of prompts by rows."""

    def __init__(self, of: Sequence[int], device: torch.device):
        """Arrange rows; row i goes on from prompt `of[i]`."""
        self._of, self._device = list(of), device
        self.prompts, self.width = 0, 0
        self.arrange()

    def arrange(self) -> torch.Tensor:
        """Find the smallest rectangle that holds all rows; return which of the prompts have rows left."""
        left = sorted(set(self._of))
        number = {prompt: place for place, prompt in enumerate(left)}
        self._of = [number[prompt] for prompt in self._of]
        counts = [0] * len(left)
        places = []
        for prompt in self._of:
            places.append((prompt, counts[prompt]))
            counts[prompt] += 1
        self.prompts, self.width = len(left), max(counts)
        slots = [prompt * self.width + place for prompt, place in places]
        self._full = slots == list(range(self.prompts * self.width))
        self._slots = torch.tensor(slots, device=self._device)
        return torch.tensor(left, device=self._device)

    def reorder(self, order: Sequence[int], cache: Cache) -> None:
        """Let row `order[i]` of before be row i; forget prompts without rows once most of the rectangle is empty."""
        self._of = [self._of[row] for row in order]
        self._slots, self._full = self._slots[torch.tensor(order, device=self._device)], False
        if self.prompts * self.width > 2 * len(order):
            left = self.arrange()
            for layer in cache.layers:
                if isinstance(layer, SharedLayer) and layer.groups is not None:
                    layer.select_prompts(left)

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """Put rows [n, heads, r, d] into the rectangle: [prompts × heads, width × r, d]."""
        _, heads, repeats, size = rows.shape
        if not self._full:
            rows = rows.new_zeros(self.prompts * self.width, heads, repeats, size).index_copy_(0, self._slots, rows)
        spread = rows.view(self.prompts, self.width, heads, repeats, size).transpose(1, 2)
        return spread.reshape(self.prompts * heads, self.width * repeats, size)

    def collect(self, rectangle: torch.Tensor, heads: int) -> torch.Tensor:
        """Take rows [n, heads, r, d] out of the rectangle again."""
        size = rectangle.shape[-1]
        rows = rectangle.view(self.prompts, heads, self.width, -1, size).transpose(1, 2)
        rows = rows.reshape(self.prompts * self.width, heads, -1, size)
        return rows if self._full else rows[self._slots]


class SharedLayer(ForkedLayer):
    """One layer's keys and values: the prompts' once, and behind them those of every completion's own tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: Groups | None = None
        self.found = False
        """Whether keys reach `attention` as the cache gives them out; some models make new ones of them on the way."""
        self.prompt_keys: Any = None
        self.prompt_values: Any = None

    @property
    def can_share(self) -> bool:
        """Whether `attention` finds the layer, and the prompt's keys are exact enough to be used in two products."""
        return self.found and self.keys.dtype is torch.float32

    def share(self, groups: Groups, rows: int, room: int) -> None:
        """Let `rows` rows go on from the prompts, with room for more tokens in each."""
        self.groups, self.prompt_keys, self.prompt_values = groups, self.keys, self.values
        self.keys = _empty(self.prompt_keys, rows, room)
        self.values = _empty(self.prompt_values, rows, room)
        self._length = 0

    def select_prompts(self, left: torch.Tensor) -> None:
        """Keep some of the prompts."""
        self.prompt_keys, self.prompt_values = self.prompt_keys[left], self.prompt_values[left]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add new tokens; return all so far, but for a prompt that is shared: `attention` finds it by the layer."""
        keys, values = super().update(key_states, value_states)
        keys.rlpipe_layer = self  # type: ignore[attr-defined]
        return keys, values

    def get_seq_length(self) -> int:
        """Return how many tokens are held, the prompt's included."""
        return super().get_seq_length() + (0 if self.groups is None else self.prompt_keys.shape[2])


def _empty(states: torch.Tensor, rows: int, room: int) -> torch.Tensor:
    return states.new_zeros(rows, states.shape[1], room, states.shape[3])


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to the shared prompt and to a row's own tokens, as transformers' attention functions do.

    `query` is [n, heads, 1, d]; returns [n, 1, heads, d].
    """
    layer = getattr(key, "rlpipe_layer", None)
    if layer is not None:
        layer.found = True
    if layer is None or layer.groups is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    groups, (rows, _, _, size), heads = layer.groups, query.shape, key.shape[1]
    query = query.reshape(rows, heads, -1, size) * (size**-0.5 if scaling is None else scaling)
    prompt_keys, prompt_values = layer.prompt_keys.flatten(0, 1), layer.prompt_values.flatten(0, 1)
    to_prompt = groups.collect(torch.bmm(groups.spread(query), prompt_keys.transpose(1, 2)), heads)
    scores = torch.cat([to_prompt, query @ key.transpose(2, 3)], dim=-1)
    if attention_mask is not None:
        scores.masked_fill_(~attention_mask, torch.finfo(scores.dtype).min)
    of_prompt, of_completion = scores.softmax(dim=-1).split([prompt_keys.shape[1], key.shape[2]], dim=-1)
    output = groups.collect(torch.bmm(groups.spread(of_prompt), prompt_values), heads) + of_completion @ value
    return output.reshape(rows, 1, -1, value.shape[-1]), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def share(cache: Cache, of: Sequence[int], room: int, device: torch.device) -> Groups | None:
    """Let row i go on from prompt `of[i]` without a copy of it; None, and nothing done, where that cannot be."""
    layers = [layer for layer in cache.layers if getattr(layer, "is_initialized", True)]
    if not all(isinstance(layer, SharedLayer) and layer.can_share for layer in layers):
        return None
    groups = Groups(of, device)
    for layer in layers:
        assert isinstance(layer, SharedLayer)
        layer.share(groups, len(of), room)
    return groups


def can_share(loaded: Loaded) -> bool:
    """Return whether a model's attention can be exchanged for this one."""
    exact = loaded.model.get_input_embeddings().weight.dtype is torch.float32 and not loaded.autocast
    return exact and loaded.model.config.get_text_config()._attn_implementation == "sdpa"


def is_sharing(loaded: Loaded) -> bool:
    """Return whether a model attends through `attention` now."""
    return loaded.model.config.get_text_config()._attn_implementation == NAME


@contextmanager
def sharing(loaded: Loaded) -> Iterator[None]:
    """Let a model attend through `attention` meanwhile, where it can."""
    if not can_share(loaded):
        yield
        return
    loaded.model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        loaded.model.set_attn_implementation("sdpa")
