"""Intervals: with one seed they are Student's and Wilson's, they need no luck, and what has none has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlpipe.statistics import crossed, intervals


def test_with_one_seed_and_no_skewness_it_is_students_paired_interval():
    from scipy import stats

    """Each score stands beside its mirror image, so that differences are not skewed: Hall's bend is none."""
    half = np.random.default_rng(0).normal(0, 1, 40)
    before = np.random.default_rng(1).normal(-2, 1, 80)
    after = before + 0.3 + np.concatenate([half, -half])
    found = intervals.change(before, after)
    theirs = stats.ttest_rel(after, before)
    low, high = theirs.confidence_interval(0.95)
    assert (found.estimate, found.low, found.high) == pytest.approx(((after - before).mean(), low, high), rel=1e-9)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-6)


def test_skewed_differences_bend_it_towards_their_tail():
    differences = np.random.default_rng(2).exponential(1, 50)
    found = intervals.change(np.zeros(50), differences)
    assert found.high - found.estimate > 1.1 * (found.estimate - found.low)


def test_the_chance_of_a_greater_change_by_luck_fits_the_interval():
    """p is 0.05 where an end of the interval is 0."""
    before, after = np.random.default_rng(3).normal(0, 1, (2, 60))
    found = intervals.change(before, after)
    shifted = intervals.change(before, after - found.low)
    assert shifted.low == pytest.approx(0, abs=1e-9)
    assert shifted.p == pytest.approx(0.05, abs=1e-6)


def test_seeds_and_examples_are_those_of_the_crossed_design():
    start, end = np.random.default_rng(4).normal(0, 1, (2, 3, 30))
    low, high = crossed.limits(crossed.one_arm(end - start))
    found = intervals.change(start, end)
    assert (found.low, found.high) == (float(low), float(high))
    low, high = crossed.limits(crossed.two_arms(end, start))
    found = intervals.unpaired(end, start)
    assert (found.low, found.high) == (float(low), float(high))


@pytest.mark.parametrize("count", [20, 256])
def test_none_right_before_and_after_has_a_width(count):
    found = intervals.change(np.zeros(count), np.zeros(count))
    assert found.low < 0 < found.high
    assert found.p > 0.99
    assert intervals.change(np.zeros(4), np.ones(4)).high == 1.0


def test_a_share_is_wilsons():
    """Against the numbers of a table: none and all right have a width too."""
    right = np.arange(256) < 0
    found = intervals.mean(right)
    assert (found.low, found.high) == (0.0, pytest.approx(0.0148, abs=1e-4))
    assert intervals.mean(~right).low == pytest.approx(1 - 0.0148, abs=1e-4)
    assert intervals.mean([1.0, 0.0]) == intervals.share(1, 2)


@pytest.mark.parametrize(("truth", "count"), [(0.05, 256), (0.3, 64), (0.5, 256)])
def test_wilsons_interval_covers_the_true_share(truth, count):
    from scipy import stats

    chances = stats.binom.pmf(np.arange(count + 1), count, truth)
    likely = np.flatnonzero(chances > 1e-8)
    covers = [(found := intervals.share(int(right), count)).low <= truth <= found.high for right in likely]
    assert 0.93 <= chances[likely] @ covers <= 0.97


def test_ties_count_as_half_and_stay_within_bounds():
    found = intervals.mean([1.0] * 10 + [0.5])
    assert 0.5 < found.low < found.estimate < found.high <= 1.0


def test_the_order_of_examples_does_not_count_and_pairing_does():
    before, after = np.random.default_rng(5).normal(0, 1, (2, 200))
    whole, backwards = intervals.change(before, after), intervals.change(before[::-1], after[::-1])
    assert (whole.low, whole.high) == pytest.approx((backwards.low, backwards.high), abs=1e-12)
    broken = intervals.change(before, before[::-1])
    paired = intervals.change(before, before + 0.01 * after)
    assert paired.high - paired.low < (broken.high - broken.low) / 50


@pytest.mark.parametrize(("before", "after"), [([0.3], [0.7]), ([0.1, 0.2], [0.3, 0.4])], ids=["one example", "same"])
def test_where_nothing_varies_there_is_no_interval(before, after):
    found = intervals.change(before, after)
    assert found.estimate == pytest.approx(after[0] - before[0])
    assert (found.low, found.high, found.ends()) == (None, None, {})
    assert math.isnan(found.p)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [([], [], "no examples"), ([1.0], [1.0, 2.0], "same examples"), ([1.0], [math.nan], "finite")],
)
def test_what_has_no_interval_is_refused(before, after, words):
    with pytest.raises(ValueError, match=words):
        intervals.change(before, after)
