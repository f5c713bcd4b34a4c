"""How a batch is cut into micro-batches, the last and smaller one of an epoch too."""

from __future__ import annotations


def micro_batches(rows: int, size: int, processes: int = 1, least: int = 1) -> list[int]:
    """Return the rows of each micro-batch: `size` at most, as equal as can be, and as many for each process.

    None has fewer than `least` rows: where some would, a few rows are left out.
    """
    for used in range(rows, 0, -1):
        count = processes * -(-used // (processes * size))
        if used // count >= least:
            return [used // count + (place < used % count) for place in range(count)]
    return []
