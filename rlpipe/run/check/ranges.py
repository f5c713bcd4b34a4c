"""Numbers that must lie in a range, and names that must be one of some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlpipe.config.relevance import settings
from rlpipe.config.settings import statement
from rlpipe.core.errors import Problem, guess
from rlpipe.run.check.subject import Subject

SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"),
    *("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"),
)
"""transformers' SchedulerType, without those that need a metric while training (a test compares them)."""


def ranges(subject: Subject) -> Iterator[Problem]:
    """Every number lies where its field says that it means something."""
    for cls, name, path, value in settings(subject.config):
        known = statement(cls, name).range
        for number in _numbers(value):
            if known is not None and not known.holds(number):
                fix = f"it must be {known.wanted}; for example {path}={known.example}"
                yield Problem(path, f"{number} is out of range", fix)


def schedule(subject: Subject) -> Iterator[Problem]:
    """The learning-rate schedule is one that the trainer knows."""
    name = subject.config.method.schedule
    if name not in SCHEDULES:
        yield Problem("method.schedule", f"there is no schedule '{name}'", guess(name, SCHEDULES))


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers that a field holds: one, or those of a list or mapping."""
    if isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
