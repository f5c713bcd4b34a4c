"""Weights in shards: each process of a run holds its part of every weight, gradient and moment (FSDP2).

torch's `fully_shard` cuts each weight along its first dimension. The weights of one transformer block are gathered when
the block computes, and let go of right after. So whatever calls the model must do so in all processes alike, as often
and in the same order. Importing this module imports torch.

`load_on_main` loads the weights in one process alone, `shard` hands every process its part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from rlpipe.config.schema import HardwareConfig, Sharding
from rlpipe.core import distributed
from rlpipe.core.errors import ModelError, RlpipeError
from rlpipe.models.base import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def wanted(hardware: HardwareConfig) -> bool:
    """Return whether weights are to be sharded: a single process holds all of them in any case."""
    return hardware.sharding is Sharding.fsdp2 and distributed.world_size() > 1


def load_on_main(load: Callable[[], Loaded]) -> Loaded:
    """Load a model in the main process alone; the others get the same without weights (on torch's meta device).

    Raises in every process what loading raised in the main one.
    """
    loaded: Loaded | None = None
    error: RlpipeError | None = None
    if distributed.is_main():
        try:
            loaded = dataclasses.replace(load(), sharded=True)
            _check_layout(loaded)
        except RlpipeError as raised:
            error = raised
    if (error := distributed.broadcast(error)) is not None:
        raise error
    if loaded is not None:
        distributed.broadcast((dataclasses.replace(loaded, model=None), _shape(loaded.model)))  # type: ignore[arg-type]
        return loaded
    rest, shape = distributed.broadcast(None)
    return dataclasses.replace(rest, model=_without_weights(*shape))


def empty_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model of the same shape without weights (on torch's meta device)."""
    return _without_weights(*_shape(model))


def _shape(model: PreTrainedModel) -> tuple[Any, ...]:
    return type(model), model.config, model.dtype, getattr(model, "generation_config", None)


def _without_weights(cls: Any, config: Any, dtype: torch.dtype, generation: Any) -> PreTrainedModel:
    with torch.device("meta"):
        model: PreTrainedModel = cls._from_config(config, dtype=dtype, attn_implementation=config._attn_implementation)
    if generation is not None:
        model.generation_config = generation
    return model


def _check_layout(loaded: Loaded) -> None:
    """Refuse a model whose weights are others in memory than in files: shards are written as they are in memory."""
    from transformers.core_model_loading import WeightConverter

    found = getattr(loaded.model, "_weight_conversions", None) or ()
    if any(isinstance(one, WeightConverter) for one in found):
        what = f"{type(loaded.model).__name__} has weights (such as fused experts) that its files hold otherwise"
        raise ModelError("hardware.sharding", what, "set hardware.sharding=none, or train another model")


def shard(model: nn.Module, device: torch.device, autocast: bool, values: nn.Module | None = None) -> None:
    """Cut a model's weights into shards, in place, and give every process its part of the main process's weights.

    `values` is a model of the same names that has the weights, where `model` itself has none; what the other processes'
    models hold is ignored. With `autocast` the blocks' weights are gathered and multiplied in bfloat16, and gradients
    summed in float32. Each weight travels alone: beside its own model the main process needs no more memory than for
    the largest one.
    """
    source = dict(_tensors(values if values is not None else model)) if distributed.is_main() else {}
    mesh = init_device_mesh(device.type, (distributed.world_size(),))
    # Activations keep their type, as under autocast alone: only products are made in bfloat16.
    block = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if autocast else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    rest = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in _blocks(model):
        fully_shard(module, mesh=mesh, mp_policy=block)
    fully_shard(model, mesh=mesh, mp_policy=rest, reshard_after_forward=True)  # whole only while it is called
    if any(tensor.is_meta for _, tensor in _tensors(model)):
        model.to_empty(device=device)
        _plain(model).tie_weights()
    for name, tensor in _tensors(model):
        if distributed.is_main():
            value = source.pop(name).to(device)
        else:
            value = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        dist.broadcast(value, src=0)
        put(tensor, value)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights and the buffers, also those that no checkpoint holds, each once, in the order of the model."""
    yield from ((name, weight.detach()) for name, weight in model.named_parameters())
    yield from model.named_buffers()


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return the transformer blocks, as transformers names them for the architecture."""
    names = set(_plain(model)._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def _plain(model: Any) -> Any:
    """Return the transformers model inside adapters."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def whole(weight: Tensor) -> Tensor:
    """Return a weight as it is without shards; all processes must call it together."""
    value = weight.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(weights: Iterable[tuple[str, Tensor]], kept: bool) -> dict[str, Tensor]:
    """Return weights without shards, in main memory, where they are `kept`; all processes must call it together."""
    found = {}
    for name, weight in weights:
        value = whole(weight)
        if kept:
            found[name] = value.cpu().contiguous()
    return found


def part(weight: Tensor) -> Tensor:
    """Return what this process holds of a weight."""
    value = weight.detach()
    return value.to_local() if isinstance(value, DTensor) else value


def put(weight: Tensor, value: Tensor) -> None:
    """Give a weight the value that every process has whole; each keeps its part."""
    if isinstance(weight, DTensor):
        value = distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None).to_local()
    with torch.no_grad():
        part(weight).copy_(value)
