"""What stands in config files as `${name:…}`: values that depend on the run's model."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from rlpipe.core import distributed
from rlpipe.core.errors import ModelError

TOY = 10_000_000
"""A model with fewer weights than this is a toy."""


def register() -> None:
    """Tell OmegaConf of all resolvers, once."""
    for name, resolver in (("scaled", scaled), ("fitting", fitting), ("sized", sized), ("dividing", dividing)):
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def scaled(rate: float, *, _root_: Any) -> float:
    """`${scaled:1e-6}`: a rate for all weights of a model of a billion, scaled to the run's model and its adapters."""
    model = _root_.model
    return float(rate) * model.learning_rate_scale * (model.lora.learning_rate_scale if model.lora.rank > 0 else 1)


def fitting(length: int, *, _root_: Any) -> int:
    """`${fitting:2048}`: a length in tokens, cut down to what the run's model takes, where that is known."""
    from rlpipe.hub.facts import local_facts

    context = _root_.model.context
    if context is None and _root_.model.source is not None:
        try:
            facts = local_facts(_root_.model.source)
        except ModelError:
            facts = None  # the checks say what is wrong with the folder
        context = facts.context if facts else None
    return min(length, context or length)


def dividing(size: int, *, _root_: Any) -> int:
    """`${dividing:8}`: the largest micro-batch up to a size that makes up `method.batch_size`, on all processes."""
    batch, processes = _root_.method.batch_size, distributed.world_size()
    for together in (processes, 1):
        fitting = [one for one in range(1, size + 1) if batch > 0 and batch % (one * together) == 0]
        if fitting:
            return fitting[-1]
    return size  # a batch that is none is named by its range


def sized(toy: Any, real: Any, *, _root_: Any) -> Any:
    """`${sized:64,1024}`: the first for a toy model, new or known to be small, the second for a real one."""
    model = _root_.model
    small = model.parameters is not None and model.parameters < TOY
    return toy if small or model.name == "blank" else real
