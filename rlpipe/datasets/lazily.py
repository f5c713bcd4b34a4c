"""Sequences whose items stay on the disk, or are made when they are looked at."""

from __future__ import annotations

import bisect
import itertools
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

T = TypeVar("T")

AT_ONCE = 1000
"""Items that are made together when all are gone through."""
BLOCK = 2**24
"""Bytes in which ends of lines are looked for at a time."""


class Lazy(Sequence[T]):
    """A sequence of `count` items of which `make` returns those at some places."""

    def __init__(self, count: int, make: Callable[[Sequence[int]], list[T]]):
        self._size, self.make = count, make

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return self.make(range(self._size)[place])
        return self.make([range(self._size)[place]])[0]

    def __iter__(self) -> Iterator[T]:
        for first in range(0, self._size, AT_ONCE):
            yield from self[first : first + AT_ONCE]


def at(items: Sequence[T], places: Sequence[int]) -> list[T]:
    """Return the items at some places, made together where they are made."""
    return items.make(places) if isinstance(items, Lazy) else [items[place] for place in places]


def picked(items: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    """Return the items at some places, in their order, and as lazily as `items`."""
    if not isinstance(items, Lazy):
        return at(items, places)
    return Lazy(len(places), lambda wanted: at(items, [places[one] for one in wanted]))


class Places:
    """Where the several items that each of some rows has stand among the items of all rows."""

    def __init__(self, counts: Sequence[int]):
        self._ends = array("q", itertools.accumulate(counts))

    @property
    def count(self) -> int:
        """Items of all rows."""
        return self._ends[-1] if self._ends else 0

    def of(self, place: int) -> tuple[int, int]:
        """Return the row that an item belongs to, and its place among the row's own."""
        row = bisect.bisect_right(self._ends, place)
        return row, place - (self._ends[row - 1] if row else 0)


def joined(parts: Sequence[Sequence[T]]) -> Sequence[T]:
    """Return the items of several sequences one after another, as lazily as these."""
    if not any(isinstance(part, Lazy) for part in parts):
        return [item for part in parts for item in part]
    places = Places([len(part) for part in parts])
    return Lazy(places.count, lambda wanted: [parts[part][place] for part, place in map(places.of, wanted)])


class Lines(Lazy[T]):
    """The lines of a file that hold something, each parsed when it is looked at.

    The file is read, never mapped: what was looked at once would count as memory of the process.
    """

    def __init__(self, path: Path, parse: Callable[[int, bytes], T], blank: Callable[[int, bytes], bool]):
        """`parse` and `blank` are given a line's number, counted from 1, and its bytes with the end of line."""
        import numpy as np

        self._file, self._parse = path.open("rb"), parse
        self._starts, odd = _starts(self._file)
        self._ends = np.append(self._starts[1:], os.fstat(self._file.fileno()).st_size)
        empty = [number for number in odd.tolist() if blank(number + 1, self._line(number))]
        self._numbers = np.delete(np.arange(len(self._starts)), empty)
        super().__init__(len(self._numbers), lambda places: [self._parsed(int(self._numbers[one])) for one in places])

    def _line(self, number: int) -> bytes:
        start, end = int(self._starts[number]), int(self._ends[number])
        return os.pread(self._file.fileno(), end - start, start)

    def _parsed(self, number: int) -> T:
        return self._parse(number + 1, self._line(number))


def _starts(file: Any) -> tuple[Any, Any]:
    """Return where each line of a file begins, and which lines begin otherwise than with an object."""
    import numpy as np

    starts, odd, offset, lines, ended = [], [], 0, 0, True
    while block := file.read(BLOCK):
        found = np.frombuffer(block, dtype=np.uint8)
        first = np.flatnonzero(np.append([ended], found[:-1] == ord("\n")))
        odd.append(np.flatnonzero(found[first] != ord("{")) + lines)
        starts.append(first + offset)
        offset, lines, ended = offset + len(block), lines + len(first), block.endswith(b"\n")
    return np.concatenate(starts), np.concatenate(odd)
