"""Training a run's model: from its newest whole checkpoint to the folder of the trained model."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rlpipe.config.relevance import differing, flat, rounding
from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.errors import Stopped
from rlpipe.core.files import hashes
from rlpipe.core.progress import TrainingProgress
from rlpipe.core.signals import StopRequest
from rlpipe.core.terminal import say
from rlpipe.methods.base import Method
from rlpipe.models.base import Loaded
from rlpipe.records import checkpoints
from rlpipe.records.record import Record
from rlpipe.trackers.base import Tracker

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback


def resume_point(record: Record, method: Method) -> Path | None:
    """Return the checkpoint to go on from, None to start anew; what lies beyond it is forgotten.

    Where another number of processes made it, the record notes what that changes.
    """
    newest = checkpoints.newest_whole(record.checkpoints) if distributed.is_main() else None
    if distributed.is_main():
        checkpoints.clear_after(record.checkpoints, newest)
        if newest is None:
            record.rewind(0)
        else:
            step, processes = checkpoints.step_of(newest), checkpoints.processes_of(newest)
            notes = record.rewind(step, checkpoints.history_of(newest), processes)
            if _divided_anew(newest):
                now = f"{distributed.world_size()} in place of {processes} processes go on from step {step}"
                notes.append(f"{now}: {method.divided}")
            notes += [f"from step {step} on {one}, which is rounding" for one in _regrouped(record)]
            record.update(notes=notes)
            say("\n".join([f"going on from {newest}", *notes]))
    return distributed.broadcast(newest)


def _regrouped(record: Record) -> Iterator[str]:
    """Yield what of the config is another than when the run began."""
    old, new = record.manifest["config"], record.config
    before, now = flat(old), flat(new)
    for key in (key for key in differing(old, new) if rounding(key, new)):
        yield f"{key} is {now.get(key)} in place of {before.get(key)}"


def _divided_anew(checkpoint: Path) -> bool:
    return checkpoints.processes_of(checkpoint) != distributed.world_size()


def standard_callbacks(config: RunConfig, record: Record, tracker: Tracker, stop: StopRequest) -> list[TrainerCallback]:
    """Return what hangs into every trainer."""
    from rlpipe.training.callbacks import standard

    return standard(config, record, tracker, stop, TrainingProgress(config.log.progress))


def train(trainer: Trainer, checkpoint: Path | None, config: RunConfig, record: Record, cost: dict[str, float]) -> None:
    """Train to the last step; `cost` gets the steps and tokens however training ends.

    Raises Stopped when the run was asked to stop and has saved.
    """
    from transformers import set_seed

    from rlpipe.training import callbacks

    attempt = distributed.broadcast(len(record.manifest.get("attempts", [])))
    trainer.args.output_dir = str(record.checkpoints / f"{checkpoints.WRITING}{attempt}")
    set_seed(config.seed)  # whatever was measured before must not change what is drawn now
    if checkpoint is not None and _divided_anew(checkpoint):
        # A checkpoint has a state for each process that made it, and none for others.
        seed = random.Random(f"{config.seed}/{checkpoints.step_of(checkpoint)}").getrandbits(32)
        trainer._load_rng_state = lambda checkpoint: set_seed(seed)  # type: ignore[method-assign]
    try:
        callbacks.train(trainer, checkpoint)
    finally:
        cost |= {"steps": trainer.state.global_step, **callbacks.tokens_seen(trainer)}
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, callbacks.StopAtStepBoundary) and callback.stopped:
            raise Stopped(
                "",
                f"stopped after step {trainer.state.global_step} of {trainer.state.max_steps}, everything is saved",
                "the same command, given the same run_dir, goes on",
            )


def keep(trainer: Trainer, loaded: Loaded, config: RunConfig, record: Record) -> Loaded:
    """Save the trained model to the run's `model/`, note the hashes of its files, and return it for measuring."""
    from rlpipe.models.card import card
    from rlpipe.models.export import help_saving, save

    trained = dataclasses.replace(loaded, model=trainer.accelerator.unwrap_model(trainer.model))
    if trained.engine is not None:
        trained.engine.policy_changed()
    folder = record.run_dir / "model"
    if record.may_write():
        save(trained, folder, card(record.manifest))
        record.note_model(hashes(folder))
    elif trained.sharded:
        help_saving(trained)
    distributed.barrier()
    return trained
