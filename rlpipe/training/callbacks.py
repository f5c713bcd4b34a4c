"""What rlpipe hangs into a trainer: records, trackers, progress, checkpoints, and the reasons to stop.

Imports transformers: only for code that is about to train. `standard` gives all callbacks in the
order that they rely on, `train` runs a trainer with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from rlpipe.config.kinds import Artifacts
from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.progress import TrainingProgress
from rlpipe.core.signals import StopRequest
from rlpipe.records.record import Record
from rlpipe.trackers.base import Artifact, Tracker
from rlpipe.training.safeguards import StopOnBadLoss, WholeCheckpoints, folder_of, full_disk
from rlpipe.training.samples import LogSamples

_END_OF_TRAINING = "train_runtime"
"""Stands in the one log that sums a training up instead of describing a step."""

_NO_LOGS: dict[str, Any] = {}


def standard(
    config: RunConfig, record: Record, tracker: Tracker, stop: StopRequest, progress: TrainingProgress
) -> list[TrainerCallback]:
    """Return the callbacks of every training, in order: a bad step is noticed first, checkpoints are sealed last."""
    return [
        StopOnBadLoss(),
        StopWhenTakenOver(record),
        StopAtStepBoundary(stop),
        LogToRecord(record, tracker),
        LogSamples(record, tracker),
        ShowProgress(progress),
        WholeCheckpoints(config.checkpoint.keep, record),
        StoreCheckpoints(record, tracker),
    ]


def train(trainer: Trainer, checkpoint: Path | None) -> None:
    """Train from a checkpoint, or from the start; a checkpoint of the last step only has its weights loaded.

    Raises TrainingError for a loss that is not a number and RecordError for a full disk.
    """
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, StopOnBadLoss):
            callback.watch(trainer)
    trainer.add_callback(_NothingLeft())
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except AlreadyTrained:
        trainer.is_in_train = False
    except Exception as error:
        raise full_disk(error, folder_of(trainer.args)) or error from error.__cause__
    finally:
        trainer.remove_callback(_NothingLeft)
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, ShowProgress):
                callback.progress.stop()


def tokens_seen(trainer: Trainer) -> dict[str, float]:
    """Return `tokens`, how many the trainer has read since `train` began; empty where it does not count them."""
    counts = [callback.tokens for callback in trainer.callback_handler.callbacks if isinstance(callback, LogToRecord)]
    return {"tokens": max(known)} if (known := [count for count in counts if count is not None]) else {}


class LogToRecord(TrainerCallback):
    """Writes every log step into metrics.jsonl and the tracker."""

    def __init__(self, record: Record, tracker: Tracker):
        self.record = record
        self.tracker = tracker
        self.tokens: float | None = None
        """How many tokens this attempt has read, where the trainer counts them."""
        self._more: dict[str, float] = {}

    def add(self, numbers: Mapping[str, float]) -> None:
        """Have more numbers written into the next row."""
        self._more |= numbers

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] = _NO_LOGS,
        **_: Any,
    ) -> None:
        """Write a row of numbers."""
        self.tokens = _tokens(state, logs) or self.tokens
        if _END_OF_TRAINING in logs or not distributed.is_main():
            return
        numbers = {name: value for name, value in logs.items() if isinstance(value, (int, float))} | self._more
        self._more = {}
        self.record.log_metrics(state.global_step, numbers)
        self.tracker.log(numbers, state.global_step)


class StoreCheckpoints(TrainerCallback):
    """Gives each whole checkpoint to the tracker, where its config asks for them."""

    def __init__(self, record: Record, tracker: Tracker):
        self.record, self.tracker = record, tracker

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Store the checkpoint of this step."""
        if self.tracker.artifacts is Artifacts.checkpoints and self.record.may_write():
            step, run = state.global_step, self.record.manifest["id"]
            folder = self.record.checkpoints / f"checkpoint-{step}"
            made = Artifact(f"checkpoint-{run}", "checkpoint", folder, (f"step-{step}",), {"step": step})
            self.tracker.store(made)


class ShowProgress(TrainerCallback):
    """Shows the training's progress."""

    def __init__(self, progress: TrainingProgress):
        self.progress = progress

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Show the bar."""
        self.progress.start(state.global_step, state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar."""
        self.progress.advance(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] = _NO_LOGS,
        **_: Any,
    ) -> None:
        """Show the numbers."""
        if _END_OF_TRAINING not in logs:
            self.progress.log(state.global_step, logs, _tokens(state, logs))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Say what it cost."""
        self.progress.stop()


class StopWhenTakenOver(TrainerCallback):
    """Ends a run that another process has taken over before the trainer writes a checkpoint into it."""

    def __init__(self, record: Record):
        self.record = record

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Raise Lost when the run is no longer this process's."""
        self.record.may_write()


class StopAtStepBoundary(TrainerCallback):
    """Saves and ends the training after the step in which the run was asked to stop."""

    def __init__(self, stop: StopRequest):
        self.stop = stop
        self.stopped = False
        """Whether training was ended before its last step."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save, log and stop when any process was asked to: all must save at the same step."""
        if distributed.any_rank(self.stop.requested) and state.global_step < state.max_steps:
            control.should_save = control.should_log = control.should_training_stop = True
            self.stopped = True


class AlreadyTrained(Exception):
    """Training was to go on from a checkpoint after which no step is left: raise it where it begins."""


class _NothingLeft(TrainerCallback):
    """Ends a training that has no step left: the trainer itself would do one more in the middle of an epoch."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave when the last step is behind."""
        if 0 < state.max_steps <= state.global_step:
            raise AlreadyTrained


def _tokens(state: TrainerState, logs: dict[str, Any]) -> float | None:
    """Return how many tokens were read, as TRL or transformers counts them; None where neither does."""
    return logs.get("num_tokens") or state.num_input_tokens_seen or None
