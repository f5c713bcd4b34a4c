"""Measurements of models that have not been trained yet, kept in the store under all that their rows depend on.

`.measurements/<64 hex>.jsonl` holds a line that says what was measured, by which run and with which seal, then a row a
line. Arms of a sweep and later runs that start from the same model take the rows from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlpipe.core.errors import RecordError
from rlpipe.core.files import Row, explained, json_line, write_atomic
from rlpipe.core.shapes import Shape, misfit

FOLDER = ".measurements"
_HEADER: Shape = {"run": str, "created": str, "sha256": str, "inputs": dict}


@dataclass(frozen=True)
class Measurement:
    """One file of rows, there or not."""

    file: Path

    @property
    def name(self) -> str:
        """`measurement-<12 hex>`."""
        return f"measurement-{self.file.stem[:12]}"

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self.file.stat().st_size

    @property
    def last_use(self) -> float:
        """When it was last made or taken, in seconds since 1970."""
        return self.file.stat().st_mtime

    def read(self) -> tuple[Row, list[Row]] | None:
        """Return what the first line says and the rows; None where there is nothing.

        Raises RecordError for a file that is not as it was written.
        """
        with explained(self.file, "read", "store"):
            if not self.file.exists():
                return None
            first, _, rest = self.file.read_bytes().partition(b"\n")
        fix = "the next run that needs it measures anew and replaces it"
        try:
            header = json.loads(first)
        except (ValueError, RecursionError) as error:
            raise RecordError(self.file, f"damaged ({error})", fix) from error
        if (wrong := misfit(header, _HEADER)) is not None:
            raise RecordError(self.file, f"damaged ({wrong})", fix)
        if header["sha256"] != hashlib.sha256(rest).hexdigest():
            raise RecordError(self.file, "damaged (its rows are not those that were written)", fix)
        with suppress(OSError):  # a store that is there for reading only remembers no use
            os.utime(self.file)
        return header, [json.loads(line) for line in rest.splitlines()]

    def write(self, rows: Sequence[Row], run: Path, inputs: Row) -> None:
        """Keep rows, in one step. Raises RecordError where the store cannot be written."""
        text = "".join(map(json_line, rows))
        digest = hashlib.sha256(text.encode()).hexdigest()
        created = datetime.now(UTC).isoformat(timespec="seconds")
        header = {"run": str(run), "created": created, "sha256": digest, "inputs": inputs}
        with explained(self.file, "write", "store"):
            self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.file, json_line(header) + text)


def measurement(store: Path, inputs: Any) -> Measurement:
    """Return where a store has the rows of a measurement that depends on `inputs` (plain types) alone."""
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return Measurement(store / FOLDER / f"{hashlib.sha256(canonical.encode()).hexdigest()}.jsonl")


def all_measurements(store: Path) -> Iterator[Measurement]:
    """Yield what a store has, by name."""
    return map(Measurement, sorted((store / FOLDER).glob("*.jsonl")))


def damaged(store: Path) -> dict[Measurement, str]:
    """Return the measurements that are not as they were written, with what is wrong."""
    found = {}
    for one in all_measurements(store):
        try:
            one.read()
        except RecordError as error:
            found[one] = error.what
    return found


def unused(store: Path, seconds: float) -> list[Measurement]:
    """Return the measurements that nobody has made or taken for so long."""
    now = time.time()
    return [one for one in all_measurements(store) if now - one.last_use >= seconds]
