"""Several comparisons at once: p-values that stay honest together."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the chance of any false discovery among them stays below the level.

    Holm, "A simple sequentially rejective multiple test procedure" (1979, Scand. J. Statist. 6): the smallest
    is multiplied by their number, the next by one less, and none may end below one before it. A p that is NaN
    (there was nothing to test) stays NaN and does not count.
    """
    tested = sorted((p, place) for place, p in enumerate(ps) if not math.isnan(p))
    adjusted = [math.nan] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        if not 0 <= p <= 1:
            raise ValueError(f"{p} is no probability")
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = largest
    return adjusted
