"""Who goes on at a rung, and that the best does: simulated with the very function that runs use."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
import pytest

from rlpipe.statistics import crossed
from rlpipe.statistics.halving import judge, rungs

STEPS, FIRST, REDUCTION = 270, 30, 3


@pytest.mark.parametrize(
    ("entries", "more", "goes_on", "place", "of"),
    [
        ([("a", 1.0)], True, True, 1, 1),
        ([("a", 1.0), ("b", 2.0)], True, True, 1, 2),
        ([("b", 2.0), ("a", 1.0)], True, False, 2, 2),
        ([("b", 2.0), ("a", 1.0)], False, True, 1, 2),
        ([("b", 2.0), ("c", 3.0), ("d", 4.0), ("a", 3.5)], True, True, 2, 4),
        ([("b", 2.0), ("c", 3.0), ("a", 2.5), ("a", 4.0)], True, True, 1, 3),
        ([("b", 2.0), ("c", 3.0), ("a", 4.5), ("a", 1.0)], True, False, 2, 3),
        ([("b", math.nan), ("a", 1.0)], True, True, 1, 2),
        ([("a", math.nan)], True, False, 1, 1),
        ([("b", 1.0), ("a", 1.0)], True, True, 2, 2),
        ([("c", 0.5), ("b", 1.0), ("a", 1.0)], True, False, 2, 3),
        ([("c", 0.5), ("b", 1.0), ("d", 0.2), ("a", 1.0)], True, True, 2, 4),
        ([("a", 1.0), ("b", 1.0), ("c", 0.5), ("a", 1.0)], True, True, 1, 3),
        ([("a", math.nan), ("b", math.nan)], True, False, 2, 2),
    ],
)
def test_the_best_share_of_the_settings_goes_on_by_the_mean_of_their_seeds(entries, more, goes_on, place, of):
    verdict = judge(entries, 3, more)
    assert (verdict.goes_on, verdict.place, verdict.of) == (goes_on, place, of)


def test_rungs_are_before_the_end():
    assert rungs(FIRST, REDUCTION, STEPS) == [30, 90]
    assert rungs(30, 3, 271) == [30, 90, 270]
    assert rungs(30, 3, 30) == []


@dataclass
class Sweep:
    """What became of 64 arms: the steps that each made, and the order is that of a cluster with 8 slots."""

    steps: np.ndarray
    measured: np.ndarray
    """The validation number of each arm's last step; NaN where it was pruned."""

    @property
    def winner(self) -> int:
        return int(np.nanargmax(self.measured))


def simulate(final: np.ndarray, rng: np.random.Generator, slots: int = 8, noise: float = 0.02) -> Sweep:
    """Run arms that approach their final numbers at different paces, as many at once as there are slots.

    Some slots are three times as fast as others, and the arms stand in a random order.
    """
    arms, pace = list(rng.permutation(len(final))), rng.uniform(60, 90, len(final))
    speed = rng.uniform(1, 3, slots)
    stops = [*rungs(FIRST, REDUCTION, STEPS), STEPS]
    reports: dict[int, list[tuple[str, float]]] = {step: [] for step in stops}
    found = Sweep(np.zeros(len(final)), np.full(len(final), np.nan))
    queue = [(0.0, slot, -1, 0) for slot in range(slots)]
    while queue:
        now, slot, arm, place = heapq.heappop(queue)
        if arm >= 0:
            step = stops[place]
            value = final[arm] * (1 - np.exp(-step / pace[arm])) + rng.normal(0, noise)
            found.steps[arm] = step
            reports[step].append((str(arm), value))
            if step == STEPS:
                found.measured[arm] = value
            elif judge(reports[step], REDUCTION).goes_on:
                heapq.heappush(queue, (now + (stops[place + 1] - step) / speed[slot], slot, arm, place + 1))
                continue
        if arms:
            heapq.heappush(queue, (now + FIRST / speed[slot], slot, arms.pop(), 0))
    return found


def test_the_planted_best_of_64_survives_at_a_third_of_the_steps_and_its_confirmed_interval_is_honest():
    """The best is 0.7, the others are 0.2 to 0.6; confirmations have 5 seeds and 100 examples of their own."""
    rng = np.random.default_rng(0)
    survived, steps, truths = [], [], []
    for _ in range(50):
        final = rng.uniform(0.2, 0.6, 64)
        best = int(rng.integers(64))
        final[best] = 0.7
        sweep = simulate(final, rng)
        survived.append(np.isfinite(sweep.measured[best]))
        steps.append(sweep.steps.sum() / (64 * STEPS))
        truths.append(final[sweep.winner])
    assert np.mean(survived) >= 0.95
    assert np.mean(steps) <= 0.35
    truth = np.repeat(truths, 60)
    seeds, examples = rng.normal(0, 0.03, (len(truth), 5, 1)), rng.normal(0, 0.2, (len(truth), 1, 100))
    scores = truth[:, None, None] + seeds + examples + rng.normal(0, 0.1, (len(truth), 5, 100))
    low, high = crossed.limits(crossed.one_arm(scores))
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97
    assert np.mean(truth < 0.7) < 0.1
