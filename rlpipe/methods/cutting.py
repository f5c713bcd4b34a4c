"""How a batch is cut into micro-batches, the last and smaller one of an epoch too."""

from __future__ import annotations


def micro_batches(rows: int, size: int, processes: int = 1, least: int = 1) -> list[int]:
    """Return the rows of each micro-batch, those that processes have at the same time side by side.

    Such ones have the same number of rows, for the library gathers numbers of each row; all are as equal as can be,
    and have `size` rows at most. None has fewer than `least`. What cannot be dealt so is left out.
    """
    for each in range(rows // processes, 0, -1):
        count = -(-each // size)
        if each // count >= least:
            parts = [each // count + (place < each % count) for place in range(count)]
            return [part for part in parts for _ in range(processes)]
    return []
