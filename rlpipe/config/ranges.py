"""What the fields of a config object say against the values that they hold: ranges, and settings without effect."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator
from typing import Any

from rlpipe.config.relevance import settings
from rlpipe.config.settings import Range, statement, written
from rlpipe.core.errors import Problem


def out_of_range(node: Any, prefix: str = "") -> Iterator[Problem]:
    """Yield a Problem for each number that lies where its field says that it means nothing, or is unusual.

    `node` is a config object, and `prefix` its own place, which ends with a dot. What is only unusual is not fatal.
    """
    for cls, name, path, value in settings(node, prefix):
        known = statement(cls, name).range
        for number in _numbers(value):
            if known is not None and not known.holds(number):
                fix = f"it must be {known.wanted}; for example {path}={_example(cls, name, known)}"
                yield Problem(path, f"{number} is out of range", fix)
            elif known is not None and not known.is_usual(number):
                fix = f"usual is {known.usual_values}; leave it where it is meant"
                yield Problem(path, f"{number:g} is unusual", fix, fatal=False)


def without_effect(node: Any, given: Collection[str], prefix: str = "") -> Iterator[Problem]:
    """Yield a warning for each field that was `given` by its dotted path and has no effect as the others are set."""
    for cls, name, path, _ in settings(node, prefix):
        reason = statement(cls, name).unused_if
        if path not in given or not reason:
            continue
        other, sign, idle = re.split("(!?=)", reason)
        parent = path.rpartition(".")[0]
        value = written(_at(node, f"{parent}.{other}".removeprefix(prefix)))
        if (value == idle) is (sign == "="):
            fix = f"drop it, or change {parent}.{other}"
            yield Problem(path, f"has no effect with {parent}.{other}={value}", fix, fatal=False)


def _at(node: Any, path: str) -> Any:
    for part in path.split("."):
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return node


def _example(cls: type, name: str, known: Range) -> str:
    """Return a value that makes sense: the field's default, where that is a number."""
    default: Any = next(one.default for one in dataclasses.fields(cls) if one.name == name)
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    return written(default) if is_number and known.holds(default) else known.example


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers that a field holds: one, or those of a list or mapping."""
    if isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
