"""Times and amounts of memory, in the words that schedulers and their users write them with."""

from __future__ import annotations

import re

_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?")
_CLOCK = re.compile(r"(\d+)(?::(\d+))?(?::(\d+))?")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)B?", re.IGNORECASE)
_MEGABYTES = {"K": 1 / 1024, "": 1.0, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
FOR_EVER = ("UNLIMITED", "INFINITE")


def seconds(time: str) -> int | None:
    """Return a time limit in seconds, None for one without an end. Raises ValueError.

    `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes[:seconds]`.
    """
    if time.upper() in FOR_EVER:
        return None
    if found := _DAYS.fullmatch(time):
        days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not (found := _CLOCK.fullmatch(time)):
        raise ValueError(f"'{time}' is no time limit: minutes, hours:minutes:seconds or days-hours")
    first, second, third = found.groups()
    if third is not None:
        return (int(first) * 60 + int(second)) * 60 + int(third)
    return int(first) * 60 + int(second or 0)


def megabytes(memory: str) -> float:
    """Return an amount of memory in megabytes. Raises ValueError."""
    found = _MEMORY.fullmatch(memory)
    if not found:
        raise ValueError(f"'{memory}' is no amount of memory: 500M, 16G")
    return float(found[1]) * _MEGABYTES[found[2].upper()]
