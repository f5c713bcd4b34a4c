"""Ending an arm at a rung of its sweep where others have left it behind. Imports transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlpipe.core import distributed
from rlpipe.core.errors import Pruned
from rlpipe.core.terminal import say_detail
from rlpipe.records.record import Record
from rlpipe.records.rungs import Rungs, describe
from rlpipe.run.watch import Watch
from rlpipe.training.callbacks import AlreadyTrained


class JudgedAtRungs(TrainerCallback):
    """Has an arm judged at each rung by what was just watched; stands behind `Watch` in the order of callbacks."""

    def __init__(self, rungs: Rungs, watch: Watch, record: Record):
        self.rungs, self.watch, self.record = rungs, watch, record
        self.verdict: str | None = None
        """How the arm stood where it did not go on."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave where the arm goes on from a rung's checkpoint and the rung has ended it."""
        if self._falls(state):
            raise AlreadyTrained

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and end the training at a rung from which the arm does not go on."""
        if self._falls(state):
            control.should_save = control.should_training_stop = True

    def leave_if_pruned(self) -> None:
        """Raise Pruned where the arm has been."""
        if self.verdict is not None:
            self.record.update(pruned=self.verdict)
            raise Pruned("", f"pruned: {self.verdict}", "extend it: rlpipe sweep DIR resume --pruned ARM")

    def _falls(self, state: TrainerState) -> bool:
        step = state.global_step
        every = self.watch.config.every or 1
        if step not in self.rungs.at(every, state.max_steps) or step not in self.watch.measured:
            return False
        if self.watch.early is not None:  # it ends here of itself, with all its results
            return False
        said = distributed.broadcast(self._judged(step) if distributed.is_main() else None)
        self.verdict = None if self.rungs.extended else said
        return self.verdict is not None

    def _judged(self, step: int) -> str | None:
        """Return how the arm stands where it is not to go on."""
        metric, value, more_is_better = self.watch.deciding(step)
        verdict = self.rungs.judge(step, value, more_is_better)
        said = describe(verdict, step, metric, value)
        say_detail(f"rung: {said}")
        return None if verdict.goes_on else said
