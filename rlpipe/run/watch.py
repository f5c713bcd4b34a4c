"""Measuring while training, on held-out rows that are the same each time and that the final evaluation never looks at.

What was measured stands in metrics.jsonl (`watch/loss`, `watch/<evaluation>/<number>`), in the row of its step, and
nowhere else: which weights are best, and for how long none were better, follows from these rows. So a resumed run,
whose rows are cut back to its checkpoint, decides as one that was never interrupted. Imports transformers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlpipe.config import plugins
from rlpipe.config.schema import WatchConfig
from rlpipe.core import distributed
from rlpipe.core.errors import TrainingError, guess
from rlpipe.core.files import explained, move, remove, sha256
from rlpipe.core.terminal import say_detail
from rlpipe.evaluations import portions
from rlpipe.models.base import Loaded
from rlpipe.models.sharding import gathered, part, put
from rlpipe.records.record import Record
from rlpipe.run.evaluate import Planned
from rlpipe.statistics import intervals
from rlpipe.training.callbacks import AlreadyTrained, LogToRecord

PREFIX = "watch/"
_BEST = re.compile(r"best-(\d+)")
_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Best:
    """The best measurement so far."""

    step: int
    value: float
    since: int
    """Measurements since then, of which none was better."""


class Watch(TrainerCallback):
    """Measures a trainer's model every so many steps; ends the training early and keeps the best weights if asked."""

    def __init__(self, config: WatchConfig, plans: Sequence[Planned], loaded: Loaded, record: Record, trainer: Trainer):
        """Watch `trainer`: `plans` are the evaluations with their examples, `loaded` the model that is trained."""
        assert config.every is not None
        self.config, self.plans, self.loaded, self.record, self.trainer = config, plans, loaded, record, trainer
        self.folder = record.checkpoints
        self.measured = _rows(record)
        """The numbers of each measured step."""
        self.early: int | None = None
        """The step after which training was ended early."""

    # -- deciding

    @property
    def best(self) -> Best | None:
        """The best measurement up to now; None before the first."""
        found: Best | None = None
        for step, numbers in sorted(self.measured.items()):
            name = self._metric(numbers)
            value = numbers[PREFIX + name]
            value = value if self.config.mode.more_is_better(name) else -value
            if found is None or value > found.value:
                found = Best(step, value, 0)
            else:
                found = replace(found, since=found.since + 1)
        if found is None:
            return None
        return replace(found, value=self.measured[found.step][PREFIX + self._metric(self.measured[found.step])])

    @property
    def exhausted(self) -> bool:
        """Whether nothing better came for as long as patience lasts."""
        best, patience = self.best, self.config.patience
        return best is not None and patience is not None and best.since >= patience

    def _metric(self, numbers: Mapping[str, float]) -> str:
        """Return the name of the number that decides, without its prefix. Raises TrainingError where there is none."""
        names = [name.removeprefix(PREFIX) for name in numbers]
        usual = [*(f"{one.name}/score" for one in self.plans), "reward", "loss"]
        chosen = self.config.metric or next((name for name in usual if name in names), "score")
        if chosen not in names:
            raise TrainingError("watch.metric", f"watching measures no '{chosen}'", guess(chosen, names))
        return chosen

    def deciding(self, step: int) -> tuple[str, float, bool]:
        """Return the number that decides, as it was measured at a step: name, value, and whether more is better."""
        name = self._metric(self.measured[step])
        return name, self.measured[step][PREFIX + name], self.config.mode.more_is_better(name)

    # -- measuring

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure the weights that training starts from; where it had ended early already, leave."""
        self._forget_after(state.global_step)
        if self.exhausted:
            self.early = state.global_step
            raise AlreadyTrained
        if state.global_step == 0 and 0 not in self.measured:
            numbers = self._measure(0)
            if distributed.is_main():
                self.record.log_metrics(0, numbers)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure where it is time; the numbers go into the step's row of the log."""
        every = self.config.every or 0
        if state.global_step % every and state.global_step < state.max_steps:
            return
        numbers = self._measure(state.global_step)
        control.should_log = True
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, LogToRecord):
                callback.add(numbers)
        if self.exhausted and state.global_step < state.max_steps:
            self.early = state.global_step
            control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Delete weights that a whole checkpoint's measurements have left behind."""
        best = self.best
        if best is not None and self.record.may_write():
            for step, folder in _kept(self.folder):
                if step != best.step:
                    remove(folder)

    def _measure(self, step: int) -> dict[str, float]:
        numbers: dict[str, float] = {}
        if self.loaded.engine is not None:
            self.loaded.engine.policy_changed()
        with undisturbed(self.trainer.model):
            validate = getattr(self.trainer, "validate", None)
            found = dict(validate()) if validate is not None else {}
            trained = replace(self.loaded, model=self.trainer.accelerator.unwrap_model(self.trainer.model))
            for one in self.plans:
                found |= self._numbers(one, trained, step)
        numbers = {PREFIX + name: float(value) for name, value in found.items()}
        before = self.best
        self.measured[step] = numbers
        best = self.best
        assert best is not None
        if self.config.restore_best and best.step == step:
            self._keep(step)
        say_detail(self._line(step, numbers, improved=before is None or best.step == step))
        return numbers

    def _numbers(self, one: Planned, loaded: Loaded, step: int) -> dict[str, float]:
        """Measure an evaluation's watched examples: its numbers, and the mean score with its 95 % interval."""
        with plugins.blame("evaluation", one.evaluation.config.name):
            rows = portions.measure_all(one.name, one.evaluation, one.examples, loaded)
            start = distributed.broadcast(self.record.evaluation(one.name, "watch")) if step else None
            found = {f"{one.name}/{name}": value for name, value in one.evaluation.summary(rows, start).items()}
        if step == 0:
            self.record.write_evaluation(one.name, "watch", rows)
        scores = [row.get("score") for row in rows]
        if all(isinstance(score, int | float) and np.isfinite(score) for score in scores):
            interval = intervals.mean(np.asarray(scores, dtype=float))
            found |= {f"{one.name}/score": interval.estimate, **interval.ends(f"{one.name}/score_")}
        return found

    def _line(self, step: int, numbers: Mapping[str, float], improved: bool) -> str:
        name = self._metric(numbers)
        best = self.best
        assert best is not None
        found = f"step {step}: {name} {numbers[PREFIX + name]:.4g} on {self._rows} held-out rows"
        return f"{found}, the best so far" if improved else f"{found}; best {best.value:.4g} at step {best.step}"

    @property
    def _rows(self) -> int:
        return max([len(one.examples) for one in self.plans], default=self.config.limit)

    # -- the best weights

    def summary(self) -> dict[str, float]:
        """Return the run's numbers about what was watched.

        The best step and value, the value of the weights that are kept, and where training ended early.
        """
        best = self.best
        if best is None:
            return {}
        kept = best.step if self.config.restore_best else max(self.measured)
        found = {f"{PREFIX}best": best.value, f"{PREFIX}best_step": float(best.step)}
        found[f"{PREFIX}kept"] = self.deciding(kept)[1]
        return found if self.early is None else found | {f"{PREFIX}ended_early": float(self.early)}

    def restore(self) -> None:
        """Put the best weights into the trainer's model, where they are to be kept and are not the last ones."""
        best = self.best
        if not self.config.restore_best or best is None or best.step == self.trainer.state.global_step:
            return
        from safetensors.torch import load_file

        file = self.folder / f"best-{best.step}" / _WEIGHTS
        if not file.is_file():
            what = "the best weights are gone, though the run has measured them"
            raise TrainingError(file, what, "start the run anew, or set watch.restore_best=false for the last ones")
        written = self.record.manifest.get("best_weights", {}).get(str(best.step))
        if distributed.broadcast(written is not None and sha256(file) != written):
            what = "the best weights are not as they were written"
            fix = "put them back from a backup, start the run anew, or set watch.restore_best=false for the last ones"
            raise TrainingError(file, what, fix)
        weights = load_file(str(file))
        for name, weight in _trained(self.trainer):
            put(weight, weights[name].to(part(weight).device))
        say_detail(f"the weights of step {best.step} are kept: they measured best on the watched rows")

    def _keep(self, step: int) -> None:
        from safetensors.torch import save_file

        writes = self.record.may_write()
        weights = gathered(_trained(self.trainer), kept=writes)
        if writes:
            folder = self.folder / f"best-{step}"
            remove(folder)
            with explained(folder):
                folder.mkdir(parents=True)
                temporary = folder / f".{_WEIGHTS}.tmp"
                save_file(weights, str(temporary))
                move(temporary, folder / _WEIGHTS)
            self.record.update(best_weights={str(step): sha256(folder / _WEIGHTS)})
        distributed.barrier()

    def _forget_after(self, step: int) -> None:
        """Delete weights of later steps than the one that training goes on from: they are measured anew."""
        self.measured = {one: numbers for one, numbers in self.measured.items() if one <= step}
        if self.record.may_write():
            for kept, folder in _kept(self.folder):
                if kept > step:
                    remove(folder)
        distributed.barrier()


def _rows(record: Record) -> dict[int, dict[str, float]]:
    """Return what the record says was measured, by step."""
    found: dict[int, dict[str, float]] = {}
    for row in distributed.broadcast(record.metrics() if distributed.is_main() else None):
        numbers = {name: value for name, value in row.items() if name.startswith(PREFIX) and value is not None}
        if numbers:
            found[row["step"]] = numbers
    return found


def _trained(trainer: Trainer) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield the weights that training changes, each once, by name."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def _kept(folder: Path) -> list[tuple[int, Path]]:
    """Return the folders of best weights, by step."""
    found = [(_BEST.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(match[1]), path) for match, path in found if match is not None)


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Leave no trace in what training goes on with: the state of every generator, and the model's mode."""
    ours, numpy, training = random.getstate(), np.random.get_state(), model.training
    with torch.random.fork_rng(), torch.no_grad():
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpy)
            model.train(training)
