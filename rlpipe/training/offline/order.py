"""In which order the training examples come.

The order depends on the seed and the epoch alone: not on the number of processes, and not on how a
batch is cut into micro-batches. Only whole batches are made; the few examples that are left over in
one epoch are others in the next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

CHUNK = 50
"""Batches among whose examples those of similar length find each other: large enough to save padding,
small enough that which examples meet in a batch differs from epoch to epoch."""


class BatchOrder:
    """The positions of the examples, one epoch at a time, `batch_size` after `batch_size`."""

    def __init__(
        self, count: int, batch_size: int, seed: int, lengths: Sequence[int] | None = None, fixed_batches: bool = False
    ):
        """Order `count` examples.

        `lengths` (tokens, one an example) puts examples of similar length into one batch. With
        `fixed_batches` the first epoch keeps the given order and later ones reorder whole batches only.
        """
        if count < batch_size:
            raise ValueError(f"{count} examples do not fill one batch of {batch_size}")
        if lengths is not None and len(lengths) != count:
            raise ValueError(f"{len(lengths)} lengths for {count} examples")
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.lengths, self.fixed_batches = lengths, fixed_batches
        self.epoch = 0

    @property
    def batches(self) -> int:
        """Batches, which is optimiser steps, in one epoch."""
        return self.count // self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}/{self.epoch}")
        batches = self._fixed(rng) if self.fixed_batches else self._drawn(rng)
        return iter([position for batch in batches for position in batch])

    def _fixed(self, rng: random.Random) -> list[list[int]]:
        batches = _cut(range(len(self)), self.batch_size)
        if self.epoch > 0:
            rng.shuffle(batches)
        return batches

    def _drawn(self, rng: random.Random) -> list[list[int]]:
        positions = list(range(self.count))
        rng.shuffle(positions)
        lengths = self.lengths
        if lengths is None:
            return _cut(positions[: len(self)], self.batch_size)
        longest = max(positions, key=lambda position: lengths[position])
        if self.epoch == 0:
            positions.remove(longest)
            positions.insert(0, longest)
        chunks = _cut(positions[: len(self)], CHUNK * self.batch_size)
        for chunk in chunks:
            chunk.sort(key=lambda position: -lengths[position])
        batches = [batch for chunk in chunks for batch in _cut(chunk, self.batch_size)]
        if self.epoch > 0:
            rng.shuffle(batches)
            return batches
        # What does not fit into memory is best found out in the first step.
        first, rest = batches[0], batches[1:]
        rng.shuffle(rest)
        return [first, *rest]


def _cut(positions: Sequence[int], size: int) -> list[list[int]]:
    return [list(positions[start : start + size]) for start in range(0, len(positions), size)]
