"""Trainers whose model's weights are in shards: the layers over rlpipe's own. Importing this module imports torch.

Whoever builds a trainer puts adapters and all else into the model, and the trainer moves it to its device: there at the
latest it is cut into shards. From then on the model brings its own exchange of gradients, and nothing may wrap it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from transformers.trainer import SCHEDULER_NAME

from rlpipe.config.schema import HardwareConfig, Sharding
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


def layers(hardware: HardwareConfig, is_sharded: bool) -> tuple[type, ...]:
    """Return what goes over a trainer: a run that may be sharded has its checkpoints in shards, also of one process.

    The trainer says what its checkpoints have beside its model: `_beside` as tensors, `_save_beside` and `_load_beside`
    as files. Its `_optimised` is a module that holds all weights that its optimiser has.
    """
    if hardware.sharding is Sharding.none:
        return ()
    if not is_sharded:
        return (ShardedCheckpoints,)
    return (Hybrid,) if hardware.sharding is Sharding.hybrid else (Sharded,)


class ShardedCheckpoints(Base):
    """Checkpoints of which each process writes its part, and any number of processes can read theirs."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write nothing: a checkpoint has the weights in `shards/`, and the run's record saves the trained model."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = {**self._trained_weights(), "optimizer": self._moments()}
        dcp.save(state, checkpoint_id=Path(output_dir) / FOLDER)
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

    def _save_beside(self, folder: Path) -> None:
        """Write nothing more: it is among the weights."""

    def _load_beside(self, folder: Path) -> None:
        """Read nothing more."""

    def _trained_weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return what training changes, in the memory where it is: the model's trained weights, and those beside it."""
        model = {name: one.detach() for name, one in self.model.named_parameters() if one.requires_grad}
        return {"model": model, **self._beside()}

    def _moments(self) -> Any:
        """Return the optimiser's tensors by the names of the weights, in the memory where they are."""
        return get_optimizer_state_dict(self._optimised(), self.optimizer.optimizer)["state"]

    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups


def _load(state: dict[str, Any], checkpoint: str) -> None:
    """Read this process's part of a checkpoint, in place, whichever processes wrote it."""
    dcp.load(state, checkpoint_id=Path(checkpoint) / FOLDER)


class Sharded(ShardedCheckpoints):
    """The layer over a trainer whose model is to be sharded."""

    hybrid: ClassVar[bool] = False

    def create_accelerator_and_postprocess(self) -> None:
        """Have accelerate leave the model as it is, but for autocast."""
        super().create_accelerator_and_postprocess()
        accelerator = self.accelerator
        accelerator.prepare_model = functools.partial(accelerator.prepare_model, evaluation_mode=True)

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        if not sharding.is_sharded(model):
            sharding.shard(model, device, self.args.bf16, self.hybrid)

    def _clip_grad_norm(self, model: Any) -> torch.Tensor:
        return sharding.clip_gradients(self._optimised().parameters(), self.args.max_grad_norm)


class Hybrid(Sharded):
    """The layer over a trainer whose model is to be sharded within each node."""

    hybrid = True
