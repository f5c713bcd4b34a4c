"""In which order the training examples come, and which of them go through the network together.

The order depends on the seed and the epoch alone: not on the number of processes, and not on how a
batch is cut into micro-batches. An epoch may end with a batch of fewer examples, as with TRL; those that are left over
for want of it are others in the next epoch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from rlpipe.methods.cutting import micro_batches

CHUNK = 50
"""Batches among whose examples those of similar length find each other: large enough to save padding,
small enough that which examples meet in a batch differs from epoch to epoch."""


class BatchOrder:
    """The positions of the examples, one epoch at a time, `batch_size` after `batch_size`."""

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        lengths: Sequence[int] | None = None,
        fixed_batches: bool = False,
        last: int = 0,
    ):
        """Order `count` examples.

        `lengths` (tokens, one an example) puts examples of similar length into one batch. With
        `fixed_batches` the first epoch keeps the given order and later ones reorder whole batches only.
        `last` is how many of the examples that fill no batch make a smaller one at the end of each epoch.
        """
        if count < batch_size:
            raise ValueError(f"{count} examples do not fill one batch of {batch_size}")
        if lengths is not None and len(lengths) != count:
            raise ValueError(f"{len(lengths)} lengths for {count} examples")
        if last > count % batch_size:
            raise ValueError(f"{count % batch_size} examples fill no batch, not {last}")
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.lengths, self.fixed_batches, self.last = lengths, fixed_batches, last
        self.epoch = 0

    @property
    def batches(self) -> int:
        """Batches, which is optimiser steps, in one epoch."""
        return self.count // self.batch_size + (self.last > 0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._in_whole_batches + self.last

    def __iter__(self) -> Iterator[int]:
        return iter([position for batch in self.of_epoch() for position in batch])

    def of_epoch(self) -> list[list[int]]:
        """Return the positions batch by batch."""
        rng = random.Random(f"{self.seed}/{self.epoch}")
        return self._fixed(rng) if self.fixed_batches else self._drawn(rng)

    @property
    def _in_whole_batches(self) -> int:
        return self.count // self.batch_size * self.batch_size

    def _fixed(self, rng: random.Random) -> list[list[int]]:
        batches, last = _cut(range(self._in_whole_batches), self.batch_size), self._last(range(self.count))
        if self.epoch > 0:
            rng.shuffle(batches)
        return [*batches, last] if last else batches

    def _last(self, positions: Sequence[int]) -> list[int]:
        return list(positions[self._in_whole_batches : len(self)])

    def _drawn(self, rng: random.Random) -> list[list[int]]:
        positions = list(range(self.count))
        rng.shuffle(positions)
        if self.lengths is not None and self.epoch == 0:
            longest = max(positions, key=self.lengths.__getitem__)
            positions.remove(longest)
            positions.insert(0, longest)
        whole, last = positions[: self._in_whole_batches], self._last(positions)
        batches = _cut(whole, self.batch_size) if self.lengths is None else self._by_length(whole, self.lengths, rng)
        return [*batches, last] if last else batches

    def _by_length(self, positions: Sequence[int], lengths: Sequence[int], rng: random.Random) -> list[list[int]]:
        chunks = _cut(positions, CHUNK * self.batch_size)
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


class MicroBatches:
    """The micro-batches of one process, epoch by epoch: what a DataLoader takes as `batch_sampler`."""

    def __init__(self, order: BatchOrder, size: int, rank: int = 0, processes: int = 1):
        """Cut the batches of `order` into micro-batches of at most `size`, and take every `processes`-th of them."""
        self.order, self.size, self.rank, self.processes = order, size, rank, processes

    def __len__(self) -> int:
        whole = self.order.count // self.order.batch_size
        return whole * self._count(self.order.batch_size) + self._count(self.order.last)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.order.of_epoch():
            start, cut = 0, []
            for rows in self._sizes(len(batch)):
                cut.append(batch[start : start + rows])
                start += rows
            yield from cut[self.rank :: self.processes]

    def weights(self, step: int) -> list[float]:
        """Return what the mean losses of a step's micro-batches count, so that each row counts the same.

        One for each of this process; their mean over all processes is 1.
        """
        is_last = self.order.last > 0 and (step + 1) % self.order.batches == 0
        sizes = self._sizes(self.order.last if is_last else self.order.batch_size)
        return [rows * len(sizes) / sum(sizes) for rows in sizes[self.rank :: self.processes]]

    def _sizes(self, rows: int) -> list[int]:
        return micro_batches(rows, self.size, self.processes)

    def _count(self, rows: int) -> int:
        return len(self._sizes(rows)) // self.processes


def _cut(positions: Sequence[int], size: int) -> list[list[int]]:
    return [list(positions[start : start + size]) for start in range(0, len(positions), size)]
