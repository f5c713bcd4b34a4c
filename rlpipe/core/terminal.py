"""What is said and shown on the terminal, and how amounts are written for people.

Other processes than the main one show nothing. Nothing here imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import indent
from typing import Any, TypeGuard

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from rlpipe.core import distributed
from rlpipe.core.errors import Problem
from rlpipe.core.hangup import heard_or_not
from rlpipe.core.visible import STEERING, visible

UNBOUND = 160
"""Columns of what is no terminal."""


class SafeConsole(Console):
    """A console on which whatever it is given to draw stays text, and which may be gone."""

    def __exit__(self, *error: Any) -> None:
        """Show what was drawn."""
        with heard_or_not():
            super().__exit__(*error)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is drawn; only rich itself steers the terminal."""
        for segment in super().render(renderable, options):
            if segment.control or not STEERING.search(segment.text):
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


def console(stderr: bool = True, width: int | None = None) -> Console:
    """Return the console for a run's own words: standard error, so that standard output stays free."""
    made = SafeConsole(stderr=stderr, width=width, highlight=False, markup=False)  # an override may look like markup
    if not stderr:
        return made
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = UNBOUND  # a log or a pipe has no width that tables must fit into
    return made


_depth: ContextVar[int] = ContextVar("depth", default=0)
"""How many runs are under way that others wait for."""


@contextmanager
def indented() -> Iterator[None]:
    """Show what a part of the work says indented under what it is for, and leave its details to its own record."""
    token = _depth.set(_depth.get() + 1)
    try:
        yield
    finally:
        _depth.reset(token)


def is_part() -> bool:
    """Whether what is under way is only a part of what was started, so that its details are shown nowhere."""
    return _depth.get() > 0


def margin() -> str:
    """Return what stands before each line: two spaces for each run that waits for this one."""
    return "  " * _depth.get()


def say(text: str) -> None:
    """Show a line of the run's own words."""
    if distributed.is_main():
        console().print(indent(visible(text), margin()), soft_wrap=True)


def say_detail(text: str) -> None:
    """Show a line that stands in the record too: not where it is about a part of the work."""
    if not is_part():
        say(text)


def show(renderable: Any) -> None:
    """Show something that rich can draw, which stands in the record too: not where it is about a part of the work."""
    if distributed.is_main() and not is_part():
        console().print(renderable)


def show_problems(problems: Sequence[Problem]) -> None:
    """Show what is worth saying about a config that may be run all the same."""
    for problem in problems:
        say(f"note: {problem}")


def duration(seconds: float) -> str:
    """Return seconds as `12s`, `3:07` or `2:03:07`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def gigabytes(size: float) -> str:
    """Return bytes in words: 3.2 GB."""
    return f"{size / 1e9:.1f} GB"


def count(number: float) -> str:
    """Return a number with three digits and a unit: 950, 1.23k, 4.5M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number that can be shown as one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
