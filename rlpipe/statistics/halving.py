"""Asynchronous successive halving: who goes on at a rung, decided when it comes there, by what came before it.

    judge([("lr=1e-4", 0.5), ("lr=1e-3", 0.7), ("lr=1e-2", 0.6)], reduction=3)  →  place 2 of 3, does not go on

Li et al. 2020, arXiv:1810.05934, in the form that stops: what is not promoted on arrival ends there, instead of waiting
for a promotion that some later arrival may bring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """How a setting stands at a rung."""

    goes_on: bool
    place: int
    """1 is the best; of equal ones, the one that came first."""
    of: int
    """Settings that had come to the rung."""
    best: int
    """Places that go on."""


def judge(entries: Sequence[tuple[str, float]], reduction: int, more_is_better: bool = True) -> Verdict:
    """Return the verdict on the last of a rung's entries, (setting, value), in the order in which they came.

    A setting counts by the mean of its entries (its seeds) up to here. It goes on among the best 1/`reduction` of the
    settings, rounded up, so that whoever comes first does; of equal ones, those that came first. Where all are equal
    the rung tells nothing, and all go on. With a value that is no finite number a setting never does.
    """
    values: dict[str, list[float]] = {}
    for setting, value in entries:
        values.setdefault(setting, []).append(value if more_is_better else -value)
    means = {setting: _mean(found) for setting, found in values.items()}
    own = means[entries[-1][0]]
    before = list(means)[: list(means).index(entries[-1][0])]
    place = 1 + sum(mean > own for mean in means.values()) + sum(means[setting] == own for setting in before)
    best = math.ceil(len(means) / reduction)
    alike = len(set(means.values())) == 1
    return Verdict((place <= best or alike) and math.isfinite(own), place, len(means), best)


def rungs(first: int, reduction: int, last: int) -> list[int]:
    """Return the steps `first`, `first·reduction`, `first·reduction²` … before step `last`."""
    found = []
    while first < last:
        found.append(first)
        first *= reduction
    return found


def _mean(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return mean if math.isfinite(mean) else -math.inf
