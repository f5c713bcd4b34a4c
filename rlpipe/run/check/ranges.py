"""Numbers that must lie in a range, and names that must be one of some."""

from __future__ import annotations

from collections.abc import Iterator

from rlpipe.config.overrides import key_of
from rlpipe.config.ranges import out_of_range, without_effect
from rlpipe.core.errors import Problem, guess
from rlpipe.run.check.subject import Subject

SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"),
    *("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"),
)
"""transformers' SchedulerType, without those that need a metric while training (a test compares them)."""


def ranges(subject: Subject) -> Iterator[Problem]:
    """Every number lies where its field says that it means something."""
    yield from out_of_range(subject.config)


def unused(subject: Subject) -> Iterator[Problem]:
    """A setting that is given has an effect, as the others are set."""
    yield from without_effect(subject.config, {key_of(override) for override in subject.named})


def schedule(subject: Subject) -> Iterator[Problem]:
    """The learning-rate schedule is one that the trainer knows."""
    name = subject.config.method.schedule
    if name not in SCHEDULES:
        yield Problem("method.schedule", f"there is no schedule '{name}'", guess(name, SCHEDULES))
