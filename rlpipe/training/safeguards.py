"""What keeps a run's checkpoints good: none from a step gone wrong, none half-written, none lost to a full disk.

Imports transformers, like `callbacks`, which puts these callbacks among the others.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlpipe.core import distributed
from rlpipe.core.errors import RecordError, TrainingError
from rlpipe.core.files import GO_ON, disk_errno
from rlpipe.models.sharding import part
from rlpipe.records import checkpoints
from rlpipe.records.record import Record


class StopOnBadLoss(TrainerCallback):
    """Stops when the loss of a step is not a number or infinite, before anything of that step is saved.

    The trainer's own filter, which replaces such losses by the average of earlier ones and looks at
    the device once a micro-batch to do so, is switched off; this looks once a step.
    """

    def __init__(self) -> None:
        self._loss: torch.Tensor | float = 0.0

    def watch(self, trainer: Trainer) -> None:
        """Listen to the losses of a trainer's micro-batches."""
        trainer.args.logging_nan_inf_filter = False
        step = trainer.training_step

        def training_step(*arguments: Any, **options: Any) -> torch.Tensor:
            loss = step(*arguments, **options)
            self._loss = self._loss + loss.detach()
            return loss

        trainer.training_step = training_step  # type: ignore[method-assign]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Raise TrainingError after a step with a bad loss, in all processes alike."""
        loss, self._loss = float(self._loss), 0.0
        if distributed.any_rank(loss - loss != 0):
            raise _bad_step(f"the loss is {loss}", args, state)


class WholeCheckpoints(TrainerCallback):
    """Seals each checkpoint when all of it is written, then deletes older ones beyond `keep`.

    The trainer's own rotation (`save_total_limit`) must be off. To be the last callback.
    """

    def __init__(self, keep: int, record: Record | None = None):
        self.keep = keep
        self.record = record
        """The record whose metrics and samples a checkpoint vouches for."""

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Seal and prune.

        Raises TrainingError instead when a weight is not a number, and RecordError for a disk that is full or fails.
        """
        checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if distributed.any_rank(not _finite(model)):
            if distributed.is_main():
                checkpoints.delete(checkpoint)
            raise _bad_step("a weight is not a number", args, state)
        distributed.barrier()
        if distributed.is_main():
            history = self.record.saved_history() if self.record is not None else {}
            checkpoints.seal(checkpoint, distributed.world_size(), history)
            checkpoints.prune(checkpoints.publish(checkpoint, folder_of(args)).parent, self.keep)


def folder_of(args: TrainingArguments) -> Path:
    """Return where a trainer's whole checkpoints lie; it writes them there, or in a folder of the attempt inside."""
    assert args.output_dir is not None  # the Trainer fills it in
    folder = Path(args.output_dir)
    return folder.parent if folder.name.startswith(checkpoints.WRITING) else folder


def _bad_step(what: str, args: TrainingArguments, state: TrainerState) -> TrainingError:
    folder = folder_of(args)
    good = [path for path in checkpoints.all_checkpoints(folder) if (path / checkpoints.SEAL).exists()]
    kept = f"the last good checkpoint is kept: {good[-1]}" if good else "no checkpoint had been made yet"
    return TrainingError(
        "",
        f"step {state.global_step}: {what}, so training was stopped; {kept}",
        "lower method.learning_rate or method.max_grad_norm, raise method.warmup, or use model.precision=float32",
    )


def _finite(model: torch.nn.Module | None) -> bool:
    """Return whether all trained weights, or what this process holds of them, are finite numbers."""
    weights = [] if model is None else [weight for weight in model.parameters() if weight.requires_grad]
    flags = [part(weight).isfinite().all() for weight in weights]
    return all(bool(flag) for flag in flags)


def disk_error(error: BaseException, folder: Path) -> RecordError | None:
    """Return the error to raise instead, when `error` comes from the disk; its half-written checkpoint is deleted.

    torch says neither that a disk is full nor that it fails, so where its writer ends the disk is asked.
    """
    number = disk_errno(error)
    if number is None and "enforce fail at inline_container" in str(error):
        number = errno.ENOSPC if shutil.disk_usage(folder).free < 1 << 20 else errno.EIO
    if isinstance(error, RecordError) or number is None:
        return None
    whole = [path for path in checkpoints.all_checkpoints(folder) if (path / checkpoints.SEAL).exists()]
    if distributed.is_main():
        with suppress(RecordError):  # a disk that fails may not delete either
            checkpoints.clear_after(folder, whole[-1] if whole else None)
    kept = f"{whole[-1].name} is kept" if whole else "there was no checkpoint before it"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return RecordError(folder, f"no space left for a checkpoint; {kept}", f"free some space and {GO_ON}")
    return RecordError(folder, f"the disk fails ({os.strerror(number)}); {kept}", f"see to the disk and {GO_ON}")
