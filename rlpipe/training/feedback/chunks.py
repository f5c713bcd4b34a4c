"""Rows that are made chunk by chunk and kept as they come: whatever ends the run, at most one chunk is made again.

Chunks begin at fixed places, so that a run that goes on makes the very rows that it would have made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rlpipe.core import distributed
from rlpipe.core.errors import RecordError, Stopped
from rlpipe.core.files import Row, append, explained, json_line, parse_lines, write_lines
from rlpipe.core.progress import Counting
from rlpipe.core.shapes import misfit
from rlpipe.core.signals import StopRequest
from rlpipe.records.record import Record

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Chunks:
    """A file of rows, one for each of some ids and in their order, that grows by chunks of `size` rows."""

    file: Path
    ids: Sequence[str]
    size: int
    record: Record
    stop: StopRequest

    def complete(
        self, make: Callable[[slice], list[Row]], title: str, on_chunk: Callable[[int, list[Row]], None], shown: bool
    ) -> list[Row]:
        """Return all rows: those in the file, and for the others what `make` makes of their numbers.

        Every process calls `make` at the same time. `on_chunk` gets each chunk, old ones too, and how many rows there
        are by then. Raises Stopped between two chunks when the run was asked to stop, and RecordError for a file with
        other rows.
        """
        rows: list[Row] = distributed.broadcast(self._whole() if self.record.may_write() else None)
        for end in range(self.size, len(rows) + self.size, self.size):
            on_chunk(min(end, len(rows)), rows[end - self.size : end])
        with Counting(title, len(self.ids), done=len(rows), unit="prompt", enabled=shown) as progress:
            while len(rows) < len(self.ids):
                self._may_go_on(len(rows))
                chunk = make(slice(len(rows), min(len(rows) + self.size, len(self.ids))))
                if self.record.may_write():
                    append(self.file, "".join(map(json_line, chunk)))
                rows += chunk
                on_chunk(len(rows), chunk)
                progress.advance(len(rows))
        return rows

    def _may_go_on(self, done: int) -> None:
        if distributed.any_rank(self.stop.requested):
            raise Stopped(
                "",
                f"stopped after {done} of {len(self.ids)} prompts ({self.file.stem}), everything is saved",
                "the same command, given the same run_dir, goes on",
            )

    def _whole(self) -> list[Row]:
        """Return the rows of the file's whole chunks up to the first that is damaged or twice.

        All else is cut off, to be made again.
        """
        with explained(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            lines = self.file.read_bytes().splitlines() if self.file.exists() else []
        rows = list(self._in_place(lines))
        if len(rows) < len(self.ids):
            rows = rows[: len(rows) // self.size * self.size]
        if lines:
            write_lines(self.file, rows)
        return rows

    def _in_place(self, lines: Sequence[bytes]) -> Iterator[Row]:
        """Yield the rows up to the first that is damaged or twice. Raises RecordError for one of another prompt."""
        seen: set[str] = set()
        for place, line in enumerate(lines):
            row = next(iter(parse_lines(line)[0]), None)
            if row is None or misfit(row, {"id": str}) is not None or row["id"] in seen:
                return
            if place >= len(self.ids) or row["id"] != self.ids[place]:
                raise RecordError(
                    self.file,
                    "holds rows of other prompts than the dataset gives now",
                    "restore the data that the run began with, or name another run_dir",
                )
            seen.add(row["id"])
            yield row


def shared_out(items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """Have every process work on its share of the items; all processes get all results, in the items' order."""
    shares = distributed.gather(list(work(items[distributed.rank() :: distributed.world_size()])))
    found: list[Result] = [None] * len(items)  # type: ignore[list-item]
    for rank, share in enumerate(shares):
        found[rank :: len(shares)] = share
    return found
