"""Intervals: they cover the truth as often as they say, and depend on nothing but the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlpipe.statistics import intervals

DATASETS = 1500


def test_the_paired_interval_covers_the_true_change():
    """256 tasks, solved with chances that differ by task and rise by 0.08 on average: both runs are correlated."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(DATASETS):
        chance = random.uniform(0, 0.84, 256)
        before = random.random(256) < chance
        after = random.random(256) < chance + 0.08
        found = intervals.change(before.astype(float), after.astype(float), resamples=2000)
        covered += found.low <= 0.08 <= found.high
    assert 0.93 <= covered / DATASETS <= 0.97


@pytest.mark.slow
def test_the_interval_of_no_change_excludes_0_as_rarely_as_it_says():
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(DATASETS):
        before, after = random.normal(-2, 1, (2, 100))
        wrong += intervals.change(before, after, resamples=1000).excludes_zero
    assert 0.03 <= wrong / DATASETS <= 0.07


@pytest.mark.parametrize(("truth", "count"), [(0.05, 256), (0.3, 64), (0.5, 256)])
def test_wilsons_interval_covers_the_true_share(truth, count):
    right = np.random.default_rng(2).binomial(count, truth, 4000)
    found = [intervals.share(int(number), count) for number in right]
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.97


def test_it_is_the_bootstrap_of_drawn_examples():
    """Multinomial counts of distinct values and plain draws with replacement agree."""
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0, 0.37], 50)
    draws = np.random.default_rng(4).integers(0, 50, (50_000, 50))
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    found = intervals.mean(values, resamples=50_000)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_the_same_numbers_give_the_same_interval_in_any_order(monkeypatch):
    before, after = np.random.default_rng(5).random((2, 200))
    whole = intervals.change(before, after)
    assert whole == intervals.change(before, after)
    backwards = intervals.change(before[::-1], after[::-1])
    assert (whole.low, whole.high) == pytest.approx((backwards.low, backwards.high), abs=1e-12)
    monkeypatch.setattr(intervals, "CELLS", 200 * 7)
    portioned = intervals.change(before, after)
    assert (whole.low, whole.high) == pytest.approx((portioned.low, portioned.high), abs=1e-12)


def test_pairing_counts():
    before = np.arange(100) % 2.0
    assert intervals.change(before, before + 0.01) == intervals.Interval(
        pytest.approx(0.01), pytest.approx(0.01), pytest.approx(0.01)
    )


def test_none_right_has_a_width():
    assert intervals.share(0, 256).high == pytest.approx(0.0148, abs=1e-4)
    assert intervals.share(256, 256).low == pytest.approx(1 - 0.0148, abs=1e-4)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [([], [], "no examples"), ([1.0], [1.0, 2.0], "same examples"), ([1.0], [math.nan], "finite")],
)
def test_what_has_no_interval_is_refused(before, after, words):
    with pytest.raises(ValueError, match=words):
        intervals.change(before, after)
