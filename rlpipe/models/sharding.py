"""Weights in shards: each process of a run holds its part of every weight, gradient and moment (FSDP2).

torch's `fully_shard` cuts each weight along its first dimension. The weights of one transformer block are gathered when
the block computes, and let go of right after. So whatever calls the model must do so in all processes alike, as often
and in the same order. Importing this module imports torch.

`load_on_main` loads the weights in one process alone, `shard` hands every process its part.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from rlpipe.config.schema import HardwareConfig, Sharding
from rlpipe.core import distributed
from rlpipe.core.errors import ModelError
from rlpipe.models.base import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


M = TypeVar("M", bound=nn.Module)


def wanted(hardware: HardwareConfig) -> bool:
    """Return whether weights are to be sharded: a single process holds all of them in any case."""
    return hardware.sharding is not Sharding.none and distributed.world_size() > 1


def load_on_main(load: Callable[[], Loaded]) -> Loaded:
    """Load a model in the main process alone; the others get the same without weights (on torch's meta device).

    Raises in every process what loading raised in the main one.
    """
    loaded: list[Loaded] = []

    def described() -> tuple[Loaded, tuple[Any, ...]]:
        [found] = loaded[:] = [dataclasses.replace(load(), sharded=True)]
        _check_layout(found)
        return dataclasses.replace(found, model=None), _shape(found.model)  # type: ignore[arg-type]

    rest, shape = distributed.from_main(described)
    return loaded[0] if loaded else dataclasses.replace(rest, model=_without_weights(*shape))


def is_sharded(model: nn.Module) -> bool:
    """Return whether a model's weights have been cut into shards."""
    return isinstance(model, FSDPModule)


def sharded_copy(model: M, device: torch.device, autocast: bool, hybrid: bool) -> M:
    """Return a copy in shards of a model that is not in shards yet; nowhere is there a second whole one on the way."""
    tensors = [*model.parameters(), *model.buffers()]
    bare = copy.deepcopy(model, {id(tensor): _bare(tensor) for tensor in tensors})
    shard(bare, device, autocast, hybrid, values=model)
    return bare


def _bare(tensor: Tensor) -> Tensor:
    """Return a weight or buffer without its values (on torch's meta device)."""
    empty = tensor.detach().to("meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def sum_gradients(model: nn.Module) -> None:
    """Have the gradients of a model in shards be the sum over processes, in place of their mean."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


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


def shard(
    model: nn.Module, device: torch.device, autocast: bool, hybrid: bool, values: nn.Module | None = None
) -> None:
    """Cut a model's weights into shards, in place, and give every process its part of the main process's weights.

    All processes share them; in `hybrid` shards those of each node do, and nodes hold the same.
    `values` is a model of the same names that has the weights, where `model` itself has none; what the other processes'
    models hold is ignored. With `autocast` the blocks' weights are gathered and multiplied in bfloat16, and gradients
    summed in float32. Each weight travels alone: beside its own model the main process needs no more memory than for
    the largest one.
    """
    source = dict(_tensors(values if values is not None else model)) if distributed.is_main() else {}
    mesh = _mesh(device, hybrid)
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


def _mesh(device: torch.device, hybrid: bool) -> DeviceMesh:
    world, local = distributed.world_size(), distributed.local_world_size()
    if not hybrid:
        return init_device_mesh(device.type, (world,))
    return init_device_mesh(device.type, (world // local, local), mesh_dim_names=("nodes", "within"))


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


def clip_gradients(weights: Iterable[nn.Parameter], most: float) -> Tensor:
    """Scale gradients down, in place, so that their norm is `most` at the most; return the norm that they had.

    All processes call it together. Weights may be in shards, or whole and alike in all processes.
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    kinds = [[one for one in gradients if isinstance(one, DTensor) is kind] for kind in (True, False)]
    norm = torch.stack([whole(nn.utils.get_total_norm(kind)) for kind in kinds if kind]).norm()
    for gradient in gradients:
        part(gradient).mul_((most / (norm + 1e-6)).clamp(max=1.0))  # as torch's own clip_grad_norm_
    return norm


def put(weight: Tensor, value: Tensor) -> None:
    """Give a weight the value that every process has whole; each keeps its part."""
    if isinstance(weight, DTensor):
        value = distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None).to_local()
    with torch.no_grad():
        part(weight).copy_(value)
