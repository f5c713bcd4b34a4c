"""TRL's trainers on weights in shards: the layer between rlpipe's own and the library's. Importing it imports torch.

The library builds adapters and whatever else it puts into the model, and moves it to its device: there it is cut into
shards. From then on the model brings its own exchange of gradients, and nothing may wrap it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.tensor import DTensor
from transformers.trainer import SCHEDULER_NAME

from rlpipe.config.schema import RunConfig, Sharding
from rlpipe.models import sharding

FOLDER = "shards"
"""Where a checkpoint has what each process held: weights and optimiser, as torch.distributed.checkpoint writes them."""
GROUPS = "groups.pt"
"""The settings of the optimiser's groups."""

if TYPE_CHECKING:
    # mypy cannot know which of TRL's classes comes below.
    Base = Any
else:
    Base = object


def layers(config: RunConfig, is_sharded: bool) -> tuple[type, ...]:
    """Return what goes over a trainer: a run that may be sharded has its checkpoints in shards, also of one process."""
    if is_sharded:
        return (Sharded,)
    return () if config.hardware.sharding is Sharding.none else (ShardedCheckpoints,)


class ShardedCheckpoints(Base):
    """Checkpoints of which each process writes its part, and any number of processes can read theirs."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write nothing: a checkpoint has the weights in `shards/`, and the run's record saves the trained model."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = {**self._trained_weights(), "optimizer": self._moments()}
        dcp.save(state, checkpoint_id=Path(output_dir) / FOLDER, no_dist=not dist.is_initialized())
        if self.args.should_save:
            groups = [{key: value for key, value in one.items() if key != "params"} for one in self._groups()]
            torch.save(groups, Path(output_dir) / GROUPS)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        _load(self._trained_weights(), resume_from_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        _load({"optimizer": self._moments()}, checkpoint)
        for group, saved in zip(self._groups(), torch.load(Path(checkpoint) / GROUPS, weights_only=True), strict=True):
            group.update(saved)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))

    def _save_reference(self, folder: Path) -> None:
        """Write nothing more: a reference is among the weights."""

    def _load_reference(self, folder: Path) -> None:
        """Read nothing more."""

    def _trained_weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return what training changes, in the memory where it is: the model's trained weights, and a reference's."""
        found = {"model": {name: one.detach() for name, one in self.model.named_parameters() if one.requires_grad}}
        if getattr(self, "ref_model", None) is not None:
            found["reference"] = {name: one.detach() for name, one in self.ref_model.named_parameters()}
        return found

    def _moments(self) -> Any:
        """Return the optimiser's tensors by the names of the weights, in the memory where they are."""
        return get_optimizer_state_dict(self.model, self.optimizer.optimizer)["state"]

    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups


def _load(state: dict[str, Any], checkpoint: str) -> None:
    """Read this process's part of a checkpoint, in place, whichever processes wrote it."""
    dcp.load(state, checkpoint_id=Path(checkpoint) / FOLDER, no_dist=not dist.is_initialized())


class Sharded(ShardedCheckpoints):
    """The layer over a trainer whose model is to be sharded."""

    def __init__(self, *args: Any, **kwargs: Any):
        with _identified():
            super().__init__(*args, **kwargs)

    def create_accelerator_and_postprocess(self) -> None:
        """Have accelerate leave the model as it is, but for autocast."""
        super().create_accelerator_and_postprocess()
        accelerator = self.accelerator
        accelerator.prepare_model = functools.partial(accelerator.prepare_model, evaluation_mode=True)

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        sharding.shard(model, device, autocast=self.args.bf16)

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


@contextmanager
def _identified() -> Iterator[None]:
    """Have TRL name a model by what this process holds of it.

    It hashes all weights to name the file of the reference's log-probabilities, takes the main process's hash, and
    cannot hash shards. The file lies in the run's own folder, for this model alone.
    """
    from trl.trainer import dpo_trainer, kto_trainer

    def hash_module(module: torch.nn.Module) -> str:
        parts = torch.nn.Module()
        for place, weight in enumerate(module.parameters()):
            parts.register_buffer(str(place), sharding.part(weight))
        return str(original(parts))

    original = dpo_trainer.hash_module
    try:
        dpo_trainer.hash_module = kto_trainer.hash_module = hash_module
        yield
    finally:
        dpo_trainer.hash_module = kto_trainer.hash_module = original
