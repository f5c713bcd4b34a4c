"""Which weights train from which step, as `method.freeze` says it. Nothing here imports torch."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlpipe.core.errors import Problem

WRITTEN = re.compile(r"(?P<part>[^@]+)@(?P<step>\d+)")
TOP = re.compile(r"top:(\d+)")
EXAMPLE = "method.freeze=['top:1@0','top:2@50',all@100]"


@dataclass(frozen=True)
class Thaw:
    """A part of the model and the step from which it trains."""

    part: str
    """`top:N`, `all`, or a pattern of weights' names."""
    step: int
    """Optimiser steps made before it trains."""

    @property
    def layers(self) -> int | None:
        """N, where the part is `top:N`."""
        found = TOP.fullmatch(self.part)
        return None if found is None else int(found[1])

    def has(self, name: str, height: int) -> bool:
        """Whether the part has a weight, `height` layers below all that stands above the topmost layer."""
        if self.part == "all":
            return True
        return fnmatch.fnmatchcase(name, self.part) if self.layers is None else height <= self.layers


def schedule(freeze: Sequence[str]) -> list[Thaw]:
    """Read `method.freeze`; what cannot be read is left out, for `freeze_problems` names it."""
    found = (WRITTEN.fullmatch(one) for one in freeze)
    return [Thaw(one["part"], int(one["step"])) for one in found if one is not None]


def first_step(name: str, height: int, thaws: Sequence[Thaw]) -> int | None:
    """Return the number of steps made before a weight trains; None where it never does."""
    return min((one.step for one in thaws if one.has(name, height)), default=None)


def freeze_problems(freeze: Sequence[str], max_steps: int | None, layers: int | None) -> Iterator[Problem]:
    """Yield what is wrong with `method.freeze`; `layers` is how many the model has, where that is known."""
    where = "method.freeze"
    unread = [one for one in freeze if WRITTEN.fullmatch(one) is None]
    for written in unread:
        yield Problem(where, f"'{written}' is no part with a step", f"write PART@STEP: {EXAMPLE}")
    thaws = schedule(freeze)
    if thaws and not unread and all(one.step > 0 for one in thaws):
        what = f"nothing trains before step {min(one.step for one in thaws)}"
        yield Problem(where, what, f"let a part train from the start: {EXAMPLE}")
    for one in thaws:
        if one.layers is not None and layers is not None and one.layers > layers:
            yield Problem(where, f"{one.part} is more than the {layers} layers of the model", f"top:{layers} or less")
        if max_steps is not None and one.step >= max_steps:
            what = f"{one.part} would train after the last of {max_steps} steps"
            yield Problem(where, what, "name an earlier step, or leave it out", fatal=False)
