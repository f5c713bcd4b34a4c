"""The progress of a training, or of other long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from rlpipe.core import distributed
from rlpipe.core.terminal import console, count, duration, is_number, is_part, margin

_SHOWN = {
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "reward": "reward",
    "accuracy": "accuracy",
    "mean_token_accuracy": "token accuracy",
    "grad_norm": "grad norm",
}
"""The logged numbers that are shown beside the loss, and the words for them."""

_SMOOTHING = 0.8
_WORTH_A_LINE = 2.0
"""Seconds; work that takes less is over before anybody reads of it."""
_BETWEEN_LINES = 30.0
"""Seconds between two lines where there is no terminal."""


class TrainingProgress:
    """The progress of one training: `start`, then `advance` each step and `log` each log step, then `stop`."""

    def __init__(self, enabled: bool = True, on: Console | None = None):
        self.console = on or console()
        self.enabled = enabled and distributed.is_main()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._loss: float | None = None
        self._weight = 0.0
        self._began = self._logged = time.monotonic()
        self._first = self._step = self._total = 0
        self._tokens = 0.0
        self._rate: float | None = None
        self._shown: Sequence[str] = ()
        self._said: float | None = None

    def start(self, step: int, total: int) -> None:
        """Begin at `step` of `total`."""
        self._began = self._logged = time.monotonic()
        self._first, self._step, self._total = step, step, total
        if self.enabled and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[numbers]}"))
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task("training", total=total, completed=step, numbers="")
            self._bar.start()

    def advance(self, step: int) -> None:
        """Note that `step` is done."""
        self._step = step
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=f"{step}/{self._total}", numbers=self._numbers())

    def log(self, step: int, logs: Mapping[str, Any], tokens: float | None = None) -> None:
        """Show the numbers of a log step. `tokens` counts those that this attempt has read."""
        self._step = step
        self._smooth(logs.get("loss"))
        self._count(tokens)
        self._shown = [f"{word} {logs[name]:.3g}" for name, word in _SHOWN.items() if is_number(logs.get(name))]
        if self._bar is not None:
            self.advance(step)
        elif self.enabled and (self._said is None or time.monotonic() - self._said > _BETWEEN_LINES):
            self._said = time.monotonic()
            self.console.print(f"{margin()}step {step}/{self._total}  {self._numbers()}", soft_wrap=True)

    def stop(self) -> None:
        """Take the bar away and say in one line what the training cost; a second call does nothing."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self.enabled and self._total:
            seconds = time.monotonic() - self._began
            steps = self._step - self._first
            line = f"{margin()}trained {steps} {'step' if steps == 1 else 'steps'} in {duration(seconds)}"
            if self._tokens:
                line += f": {self._tokens:,.0f} tokens, {count(self._tokens / max(seconds, 1e-9))} tokens/s"
            self.console.print(line, soft_wrap=True)
        self.enabled = False

    def _smooth(self, loss: Any) -> None:
        """Keep a running mean of the loss; early values count in full, so that it starts where the loss does."""
        if not is_number(loss):
            return
        self._weight = _SMOOTHING * self._weight + 1
        self._loss = loss if self._loss is None else self._loss + (loss - self._loss) / self._weight

    def _count(self, tokens: float | None) -> None:
        now = time.monotonic()
        if tokens is not None and tokens > self._tokens:
            self._rate = (tokens - self._tokens) / max(now - self._logged, 1e-9)
            self._tokens = tokens
        self._logged = now

    def _numbers(self) -> str:
        parts = [f"loss {self._loss:.4f}"] if self._loss is not None else []
        parts += self._shown
        if self._rate is not None:
            parts.append(f"{count(self._rate)} tokens/s")
        done = self._step - self._first
        if done > 0:
            left = (self._total - self._step) * (time.monotonic() - self._began) / done
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)


class Counting:
    """The progress of work on a known number of things, as a context: `advance` says how many are done.

    Ends with a line that says what it cost, unless it took no time to speak of.
    """

    def __init__(
        self,
        title: str,
        total: int,
        done: int = 0,
        unit: str = "example",
        enabled: bool = True,
        on: Console | None = None,
    ):
        self.title, self.total, self.unit = title, total, unit
        self.console = on or console()
        self.enabled = enabled and distributed.is_main()
        self._first = self._done = done
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._began = self._reported = time.monotonic()

    def __enter__(self) -> Self:
        """Show the bar."""
        self._began = self._reported = time.monotonic()
        if self.enabled and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[numbers]}"))
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task(self.title, total=self.total, completed=self._done, numbers="")
            self._bar.start()
        return self

    def advance(self, done: int) -> None:
        """Note that so many things are done by now."""
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, numbers=self._numbers())
        elif self.enabled and done < self.total and time.monotonic() - self._reported > _BETWEEN_LINES:
            self._reported = time.monotonic()
            self.console.print(f"{margin()}{self.title}: {self._numbers()}", soft_wrap=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the bar away, and say what the work cost where it was done."""
        if self._bar is not None:
            self._bar.stop()
        seconds, count = time.monotonic() - self._began, self._done - self._first
        if self.enabled and error is None and seconds >= _WORTH_A_LINE and not is_part():
            line = f"{self.title}: {count:,} {self.unit}{'' if count == 1 else 's'} in {duration(seconds)}"
            self.console.print(line, soft_wrap=True)

    def _numbers(self) -> str:
        done = self._done - self._first
        text = f"{self._done}/{self.total}"
        if done > 0:
            left = (self.total - self._done) * (time.monotonic() - self._began) / done
            text += f"  {duration(left)} left"
        return text
