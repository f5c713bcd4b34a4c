"""A model that says what a script tells it to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlpipe.models.base import Loaded


@contextmanager
def script(one: Loaded, prompt: list[int], ids: list[int]) -> Iterator[None]:
    """Make the model say `ids` after a prompt, whatever it reads; beyond their end, an end of turn."""
    import torch

    def force(module: Any, arguments: Any, named: dict[str, Any], output: Any) -> Any:
        place = int(named["position_ids"][0, -1]) + 1 - len(prompt)
        token = ids[place] if place < len(ids) else one.tokenizer.eos_token_id
        output.logits = torch.full_like(output.logits, -20.0)
        output.logits[..., token] = 0.0
        return output

    handle = one.model.register_forward_hook(force, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
