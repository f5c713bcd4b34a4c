"""How sample rows are drawn: only different ones, and a row's key alone decides which split it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from random import Random

from rlpipe.core.errors import DataError
from rlpipe.datasets.base import Row

PATIENCE = 2000
"""Draws in a row without a new row after which a generator counts as exhausted."""


def side(key: str) -> str:
    """Return the split that a key belongs to: one key in eight is for testing."""
    return "test" if hashlib.blake2b(key.encode(), digest_size=2).digest()[0] % 8 == 0 else "train"


def draw(
    name: str, split: str, count: int, seed: int, make: Callable[[Random], tuple[str, Row]], once: bool = True
) -> Iterator[Row]:
    """Yield `count` different rows of a split; `make` returns a random row with its key.

    `once` gives a key only once; else rows of one key need only differ. Raises DataError when the generator
    has no more different rows to give.
    """
    rng = Random(f"{name} {split} {seed}")
    seen: set[str] = set()
    misses = 0
    while len(seen) < count:
        key, row = make(rng)
        known = key if once else repr(row)
        if known in seen or side(key) != split:
            misses += 1
            if misses > PATIENCE:
                what = (
                    f"the generator of {name} has only about {len(seen)} different {split} rows, {count} are asked for"
                )
                raise DataError("dataset.sample_size", what, f"set dataset.sample_size to at most {len(seen)}")
            continue
        misses = 0
        seen.add(known)
        yield row
