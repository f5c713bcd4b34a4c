"""What a field of a config says of itself: what it changes, and which numbers it may hold.

A class says once what its fields change, and a field only where it differs:

    @changing(Changes.result)
    @dataclass
    class MyConfig(MethodConfig):
        beta: float = setting(0.1, above=0)
        samples_every: int = setting(50, Changes.nothing, at_least=0, zero="never")
        alpha: float = setting(32.0, above=0, usual=(1, 1024), unused_if="rank=0")

Fingerprints, resuming, reports, protocols and range checks all read this (`rlpipe.config.relevance`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

C = TypeVar("C", bound=type)


class Changes(Enum):
    """What another value of a field leads to, from the most to the least."""

    result = "result"
    """Other weights or rows: another stage, another arm, another run."""
    seed = "seed"
    """Another repetition: another stage and run, the same arm."""
    indirect = "indirect"
    """What it names or leads to is what counts: a folder by its files, a stage by its fingerprint, a scale by the rate
    that follows from it. Another arm and run; stages and protocols read what it leads to instead."""
    rows = "rows"
    """Another measurement of the same weights: another run, the same stage and arm."""
    run = "run"
    """How this run computes: its attempts keep to it; stage and arm are the same."""
    nothing = "nothing"
    """Nothing that is compared: attempts of one run may differ in it."""


@dataclass(frozen=True)
class Range:
    """Which numbers a field may hold. Never one that is not finite; null where the field's type allows it."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    zero: str = ""
    """What 0 means, where it is the least."""
    usual: tuple[float | None, float | None] = (None, None)
    """The least and the most that is usual; what lies outside is worth a warning. None for no bound."""

    def holds(self, value: float) -> bool:
        """Return whether a number lies in the range."""
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def is_usual(self, value: float) -> bool:
        """Return whether a number is no surprise; a number that switches something off (`zero`) never is."""
        least, most = self.usual
        return (bool(self.zero) and value == 0) or (
            (least is None or value >= least) and (most is None or value <= most)
        )

    @property
    def usual_values(self) -> str:
        """The usual numbers in words, after "usual is"."""
        least, most = self.usual
        if least is None:
            return f"at most {most:.10g}"
        return f"at least {least:.10g}" if most is None else f"{least:.10g} to {most:.10g}"

    @property
    def wanted(self) -> str:
        """The range in words, after "it must be"."""
        if self.zero:
            lower = f"0 ({self.zero}) or above"
        elif self.at_least is not None:
            lower = f"at least {self.at_least:g}"
        else:
            lower = "" if self.above is None else f"above {self.above:g}"
        if self.at_most is not None:
            upper = f"at most {self.at_most:.10g}"
        else:
            upper = "" if self.below is None else f"below {self.below:.10g}"
        return " and ".join(part for part in (lower, upper) if part) or "a finite number"

    @property
    def example(self) -> str:
        """A number in the range."""
        lower = self.at_least if self.at_least is not None else self.above
        upper = self.at_most if self.at_most is not None else self.below
        if lower is None:
            return f"{0 if upper is None or upper > 0 else upper - 1:g}"
        if self.holds(lower):
            return f"{lower:g}"
        return f"{lower + 1 if self.holds(lower + 1) else (lower + (upper or 1)) / 2:g}"


@dataclass(frozen=True)
class Statement:
    """What is said of a field; None where nothing is."""

    changes: Changes | None
    range: Range | None
    unused_if: str = ""
    """`other=value`: where it has no effect."""
    timed: bool = False
    """Whether another value changes how long a step takes."""
    rounding: bool = False
    """Whether another value changes results by rounding alone."""


def setting(
    default: Any,
    changes: Changes | None = None,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    finite: bool = False,
    zero: str = "",
    usual: tuple[float | None, float | None] = (None, None),
    unused_if: str = "",
    timed: bool = False,
    rounding: bool | None = None,
) -> Any:
    """Return a dataclass field with its default and what it says of itself.

    A list, mapping or nested config is given as the function that makes it. `changes` may be left to the class.
    `finite` is for a number without any bound, `usual` for the least and the most that is no surprise.
    `unused_if` names a field of the same class, and the value (`rank=0`; all others: `mode!=hybrid`) at which this one
    has no effect. `timed` says that another value changes how long a step takes, `rounding` that it changes
    results by rounding alone (sums in another order): an attempt of a run may have another, which the record notes.
    """
    bounded = finite or any(bound is not None for bound in (above, at_least, below, at_most))
    known = Range(above, at_least, below, at_most, zero, usual) if bounded else None
    metadata = {"changes": changes, "range": known, "unused_if": unused_if, "timed": timed}
    metadata["rounding"] = rounding
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def changing(default: Changes, **inherited: Changes) -> Callable[[C], C]:
    """Say what the fields that a config class adds change, and, by name, what inherited ones change in it."""

    def mark(cls: C) -> C:
        cls.__changes__ = default, inherited  # type: ignore[attr-defined]
        return cls

    return mark


def statement(cls: type, name: str) -> Statement:
    """Return what a config class says of one of its fields: the nearest word counts, an override inherits the rest."""
    changes: Changes | None = None
    known: Range | None = None
    unused_if, timed = "", False
    rounding: bool | None = None
    for owner in cls.__mro__:
        default, inherited = vars(owner).get("__changes__", (None, {}))
        changes = changes or inherited.get(name)
        if name not in vars(owner).get("__annotations__", {}):
            continue
        metadata: Mapping[str, Any] = owner.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
        changes = changes or metadata.get("changes")
        known = known or metadata.get("range")
        unused_if = unused_if or metadata.get("unused_if", "")
        timed = timed or metadata.get("timed", False)
        rounding = metadata.get("rounding") if rounding is None else rounding
        first = not any(name in vars(base).get("__annotations__", {}) for base in owner.__mro__[1:])
        if first:  # the class that brings the field speaks for it
            return Statement(changes or default, known, unused_if, timed, bool(rounding))
    return Statement(changes, known, unused_if, timed, bool(rounding))


def written(value: Any) -> str:
    """Return a value as the command line writes it: `null`, `true`, an enumeration's name, `0.1`, `0`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Enum):
        return value.name
    return f"{value:g}" if isinstance(value, float) else str(value)
