"""What a run logged, as columns of numbers: read fast, because a sweep has millions of rows.

Arrow reads JSON lines several times as fast as Python does; a file that it refuses (a damaged line, a
field of two kinds) is read tolerantly instead, row by row.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlpipe.core.files import parse_lines
from rlpipe.records.runs import Run

_TAIL = 1 << 14
"""Bytes of a log's end that are enough to know what it holds."""
_BESIDE = ("step", "time")
"""Columns that are no curves."""
_TRIVIAL = ("epoch",)
"""Columns that say nothing that `step` does not."""


@dataclass(frozen=True)
class Series:
    """A run's log: `steps` (rows,), `values` (rows, names) with NaN where a row lacks the name."""

    steps: np.ndarray[Any, Any]
    names: list[str]
    values: np.ndarray[Any, Any]
    broken: dict[str, int]
    """Rows in which a name was logged but was no number (the record writes null for NaN and infinity)."""


@dataclass(frozen=True)
class Outline:
    """What a log is like, seen from its end alone."""

    last: int = 0
    """The last step."""
    names: frozenset[str] = frozenset()
    """The last rows' names."""
    rows: int = 0
    """About how many rows there are."""


def outline(run: Run) -> Outline:
    """Look at the end of a run's log; an absent or empty one has no names."""
    path = run.dir / "metrics.jsonl"
    if not path.is_file():
        return Outline()
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        data = file.read()
    whole = data.partition(b"\n")[2] if size > _TAIL else data
    rows, _ = parse_lines(whole, still_going=True)
    rows = [row for row in rows if _is_step(row.get("step"))]
    names = frozenset(name for row in rows for name in row) - frozenset(_BESIDE + _TRIVIAL)
    last = max((int(row["step"]) for row in rows), default=0)
    return Outline(last, names, round(size / len(whole) * len(rows)) if whole else 0)


def read(run: Run, every: int = 1) -> Series | None:
    """Return a run's log in the order of its steps, None where there is none.

    With `every` above 1, only one in so many rows, and the last, are looked at.
    """
    path = run.dir / "metrics.jsonl"
    if not path.is_file() or not path.stat().st_size:
        return None
    columns = _by_arrow(path.read_bytes(), every)
    if columns is None:
        columns = _by_row(run)
    steps = columns.pop("step", None)
    if steps is None:
        return None
    whole = ~np.isnan(steps)
    order = np.argsort(steps[whole], kind="stable")
    columns = {name: column[whole][order] for name, column in columns.items() if name not in _BESIDE + _TRIVIAL}
    names = [name for name, column in columns.items() if not np.isnan(column).all()]
    values = np.stack([columns[name] for name in names], axis=1) if names else np.empty((len(order), 0))
    broken = {name: int(np.isinf(columns[name]).sum()) for name in names}
    values[np.isinf(values)] = np.nan
    return Series(steps[whole][order].astype(np.int64), names, values, {name: n for name, n in broken.items() if n})


def _by_arrow(data: bytes, every: int) -> dict[str, np.ndarray[Any, Any]] | None:
    """Return the numeric columns, None where the file needs a tolerant reader."""
    import pyarrow as pa
    from pyarrow import json as arrow

    if b"null" in data:
        # Which rows lack a name, and which hold no number, Arrow does not tell apart; and it ends the whole process
        # (a segmentation fault, pyarrow 26) where a file's first row is null.
        return None
    if every > 1:
        lines = data.rstrip(b"\n").split(b"\n")
        data = b"\n".join([*lines[:-1:every], lines[-1]])
    options = arrow.ReadOptions(use_threads=False, block_size=max(len(data), 1))
    try:
        table = arrow.read_json(pa.BufferReader(data), read_options=options)
    except pa.ArrowInvalid:
        return None
    numeric = (name for name in table.column_names if _numeric(table.schema.field(name).type))
    return {name: table.column(name).to_numpy().astype(np.float64) for name in numeric}


def _numeric(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind))


def _by_row(run: Run) -> dict[str, np.ndarray[Any, Any]]:
    """Return the numeric columns of whatever rows can be read; null becomes infinity, so that it can be counted."""
    rows = [row for row in run.metrics() if _is_step(row.get("step"))]
    columns: dict[str, np.ndarray[Any, Any]] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                continue
            column = columns.setdefault(name, np.full(len(rows), np.nan))
            column[place] = np.inf if value is None or value != value else value
    return columns


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


CHARACTERS = 4
"""Characters that a number takes."""


class Vectors:
    """Vectors of a page, each stored once however often it is used (many arms share a learning rate's schedule)."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[str, int] = {}

    def add(self, values: np.ndarray[Any, Any]) -> int:
        """Store a vector and return its place."""
        text = packed(values)
        if text not in self._known:
            self._known[text] = len(self.texts)
            self.texts.append(text)
        return self._known[text]


def packed(values: np.ndarray[Any, Any]) -> str:
    """Return numbers as text, rounded to 24 bits."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    finite = np.isfinite(values)
    bits = np.where(finite, bits + 0x80, bits).astype(">u4")
    return base64.b64encode(bits.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()).decode()
