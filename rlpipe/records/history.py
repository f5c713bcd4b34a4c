"""What a run logs step by step, metrics and samples: vouched for by checkpoints, and cut back to one on resume."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from rlpipe.core.files import Row, explained, json_line, parse_lines, write_atomic
from rlpipe.core.shapes import NUMBER, Shape, misfit
from rlpipe.records import seals

NAMES = ("metrics.jsonl", "samples.jsonl")
ROW: Shape = {"step": int, "time?": NUMBER}
NOTHING: Mapping[str, Row] = MappingProxyType({})


def rows(path: Path) -> list[Row]:
    """Return a file's rows; lines that are none are left out."""
    return usable(_content(path))[0]


def usable(data: bytes, still_going: bool = False) -> tuple[list[Row], int]:
    """Return the rows of a step, and how many lines are none."""
    found, damaged = parse_lines(data, still_going)
    kept = [row for row in found if misfit(row, ROW) is None]
    return kept, damaged + len(found) - len(kept)


def saved(run_dir: Path) -> dict[str, Row]:
    """Force the files to the disk, and return their seals."""
    found = {}
    for path in (run_dir / name for name in NAMES):
        if path.exists():
            with explained(path, "force to the disk"), open(path, "rb") as file:
                os.fsync(file.fileno())
            found[path.name] = seals.seal(path)
    return found


def rewind(run_dir: Path, step: int, saved: Mapping[str, Row]) -> list[str]:
    """Cut the files back to what they were at `step`, and return in words what of it is missing, damaged or twice."""
    notes = []
    for name in NAMES:
        data, recorded = _content(run_dir / name), saved.get(name)
        if recorded is not None and hashlib.sha256(data[: recorded["size"]]).hexdigest() == recorded["sha256"]:
            kept = data[: recorded["size"]]
        else:
            kept, note = _what_is_left(name, data, step, recorded)
            notes += [note] if note else []
        if kept != data:
            write_atomic(run_dir / name, kept)
    return notes


def _what_is_left(name: str, data: bytes, step: int, recorded: Row | None) -> tuple[bytes, str | None]:
    found, damaged = usable(data)
    until = [json_line(row) for row in found if row["step"] <= step]
    once = list(dict.fromkeys(until))
    missing = max(0, recorded["rows"] - len(once)) if recorded is not None else 0
    wrong = {"missing": missing, "twice": len(until) - len(once), "damaged": damaged}
    listed = ", ".join(f"{count} {word}" for word, count in wrong.items() if count)
    note = f"{name}: of the rows up to step {step} {listed}" if listed else None
    return "".join(once).encode(), note


def _content(path: Path) -> bytes:
    with explained(path, "read"):
        return path.read_bytes() if path.exists() else b""
