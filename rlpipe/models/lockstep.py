"""Models in shards, called by all processes alike although each has other work.

A model in shards gathers its weights in every call, for which it needs all processes. Where they have different
numbers of calls to make, as completions end at different lengths, whoever has done joins in the calls of the others
with a token that counts for nothing. Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from rlpipe.core import distributed
from rlpipe.models.sharding import is_sharded


@contextmanager
def in_step(model: nn.Module) -> Iterator[None]:
    """Let each process call a model in shards as often as it likes in the body, without gradients.

    All processes come here together, call no other model in shards in the body, and exchange nothing else there. Every
    call is announced, which costs one exchange of a number. Nothing happens for a model that is not in shards.
    """
    if not is_sharded(model):
        yield
        return
    announced = model.register_forward_pre_hook(lambda *_: _announce(), prepend=True)
    try:
        yield
    finally:
        announced.remove()
    with torch.no_grad(), evaluating(model):
        while distributed.any_rank(False):
            _join(model)


def _announce() -> None:
    distributed.any_rank(True)


def _join(model: Any) -> None:
    """Take part in a call of other processes."""
    device = next(model.parameters()).device
    model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), use_cache=False)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off and put every module back into the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
