"""Reading JSON lines that may be damaged: what cannot be read is skipped and counted."""

from __future__ import annotations

import json

from rlpipe.core.files import Row


def parse_lines(data: bytes, still_going: bool = False) -> tuple[list[Row], int]:
    """Return the rows of JSON lines, and how many lines are no row.

    The last line of a file that is still being written may be torn: that is no damage.
    """
    lines = [line for line in data.split(b"\n") if line.strip()]
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")  # four times as fast as line by line
        if len(rows) == len(lines) and all(type(row) is dict for row in rows):
            return rows, 0
    except (ValueError, RecursionError):
        pass  # read line by line below, where the damaged ones are counted
    rows = [row for line in lines if (row := _row(line)) is not None]
    torn = still_going and bool(lines) and not data.endswith(b"\n") and _row(lines[-1]) is None
    return rows, len(lines) - len(rows) - torn


def _row(line: bytes) -> Row | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
