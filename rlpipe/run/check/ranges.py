"""Numbers that must lie in a range, and names that must be one of some."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rlpipe.core.errors import Problem, guess
from rlpipe.run.resolved import Subject

SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"),
    *("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"),
)
"""transformers' SchedulerType, without those that need a metric while training (a test compares them)."""


@dataclass(frozen=True)
class Range:
    """What a field's value must be; a null value is always allowed."""

    path: str
    holds: Callable[[Any], bool]
    wanted: str
    example: str


def _above_zero(value: float) -> bool:
    return 0 < value < math.inf


def _at_least(least: float) -> Callable[[float], bool]:
    return lambda value: least <= value < math.inf


def _share(value: float) -> bool:
    return 0 <= value < 1


RANGES = (
    Range("seed", lambda value: 0 <= value < 2**32, "a whole number from 0 to 2^32 - 1", "0"),
    Range("method.learning_rate", _above_zero, "above 0", "1e-5"),
    Range("method.epochs", _above_zero, "above 0", "1"),
    Range("method.max_steps", _at_least(1), "at least 1, or null", "100"),
    Range("method.batch_size", _at_least(1), "at least 1", "32"),
    Range("method.micro_batch_size", _at_least(1), "at least 1", "8"),
    Range("method.micro_batch_tokens", _at_least(1), "at least 1", "8192"),
    Range("method.group_size", _at_least(1), "at least 1", "4"),
    Range("method.epochs_per_batch", _at_least(1), "at least 1", "1"),
    Range("method.minibatches", _at_least(1), "at least 1", "1"),
    Range("method.kl_coef", _at_least(0), "0 (no reference) or above", "0.05"),
    Range("method.clip", _above_zero, "above 0", "0.2"),
    Range("method.clip_high", _above_zero, "above 0, or null", "null"),
    Range("method.sync_reference", _at_least(0), "0 (never) or above", "0"),
    Range("method.sync_weight", lambda value: 0 < value <= 1, "above 0 and at most 1", "1"),
    Range("method.samples_every", _at_least(0), "0 (never) or above", "10"),
    Range("method.sampling.temperature", _above_zero, "above 0: greedy completions teach nothing", "1"),
    Range("method.sampling.top_p", lambda value: 0 < value <= 1, "above 0 and at most 1", "1"),
    Range("method.sampling.top_k", _at_least(0), "0 (all tokens) or above", "0"),
    Range("method.sampling.min_p", _share, "a share from 0 to below 1", "0"),
    Range("method.sampling.max_tokens", _at_least(1), "at least 1", "128"),
    Range("method.max_length", _at_least(2), "at least 2 tokens", "1024"),
    Range("method.warmup", _share, "a share of the steps: from 0 to below 1", "0.1"),
    Range("method.weight_decay", _at_least(0), "0 or above", "0"),
    Range("method.max_grad_norm", _at_least(0), "0 (no clipping) or above", "1"),
    Range("model.lora.rank", _at_least(0), "0 (no adapters) or above", "16"),
    Range("model.lora.alpha", _above_zero, "above 0", "32"),
    Range("model.lora.dropout", _share, "a share from 0 to below 1", "0"),
    Range("model.learning_rate_scale", _above_zero, "above 0", "1"),
    Range("model.parameters", _at_least(1), "at least 1, or null", "null"),
    Range("model.context", _at_least(2), "at least 2, or null", "null"),
    Range("hardware.threads", _at_least(1), "at least 1", "1"),
    Range("checkpoint.every", _at_least(1), "at least 1 step: a run must be able to go on", "100"),
    Range("checkpoint.keep", _at_least(2), "at least 2: the newest one may be damaged", "2"),
    Range("log.every", _at_least(1), "at least 1 step", "10"),
)


def ranges(subject: Subject) -> Iterator[Problem]:
    """Every number lies where it means something."""
    for one in RANGES:
        yield from _outside(one, _value(subject.config, one.path))
    for name, evaluation in subject.config.evaluation.items():
        path = f"evaluation.{name}"
        yield from _outside(Range(f"{path}.limit", _at_least(1), "at least 1, or null", "null"), evaluation.limit)
        tokens = Range(f"{path}.batch_tokens", _at_least(1), "at least 1", "8192")
        yield from _outside(tokens, evaluation.batch_tokens)
    for name, reward in subject.config.reward.items():
        yield from _outside(Range(f"reward.{name}.weight", math.isfinite, "a finite number", "1"), reward.weight)


def schedule(subject: Subject) -> Iterator[Problem]:
    """The learning-rate schedule is one that the trainer knows."""
    name = subject.config.method.schedule
    if name not in SCHEDULES:
        yield Problem("method.schedule", f"there is no schedule '{name}'", guess(name, SCHEDULES))


def _outside(one: Range, value: Any) -> Iterator[Problem]:
    if value is not None and not one.holds(value):
        yield Problem(
            one.path, f"{value} is out of range", f"it must be {one.wanted}; for example {one.path}={one.example}"
        )


def _value(config: Any, path: str) -> Any:
    """Return a field's value; None, which is always allowed, where the chosen plugin has no such field."""
    for name in path.split("."):
        config = getattr(config, name, None)
    return config
