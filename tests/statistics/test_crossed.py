"""Intervals over seeds and examples: against closed forms that others wrote, and against their own definition."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlpipe.statistics import crossed
from rlpipe.statistics.crossed import (
    DIFFERENCE,
    SHARE,
    binary,
    limits,
    one_arm,
    only_seeds,
    p_value,
    seeds_of_two,
    two_arms,
)

DRAW = np.random.default_rng(0)


def symmetric(shape):
    """Numbers of which each has its opposite, so that nothing is skewed."""
    half = DRAW.normal(size=(*shape[:-1], shape[-1] // 2))
    return np.concatenate([half, -half], axis=-1)


def test_one_seed_and_even_scores_give_students_interval_and_p():
    from scipy import stats

    scores = symmetric((1, 30)) + 0.3
    found = stats.ttest_1samp(scores[0], 0.0)
    parts = one_arm(scores)
    assert np.allclose(limits(parts), found.confidence_interval(0.95), rtol=1e-9)
    assert np.isclose(p_value(parts), found.pvalue, rtol=1e-6)


def test_numbers_of_seeds_alone_give_students_interval_and_p():
    from scipy import stats

    means = DRAW.normal(0.5, 1, 4)
    found = stats.ttest_1samp(means, 0.0)
    assert np.allclose(limits(only_seeds(means)), found.confidence_interval(0.95))
    assert np.isclose(p_value(only_seeds(means)), found.pvalue, rtol=1e-6)


def test_two_arms_of_seeds_alone_are_welchs_test():
    from scipy import stats

    ours, theirs = DRAW.normal(0.5, 1, 4), DRAW.normal(0, 3, 3)
    found = stats.ttest_ind(ours, theirs, equal_var=False)
    parts = seeds_of_two(ours, theirs)
    assert np.allclose(limits(parts), found.confidence_interval(0.95))
    assert np.isclose(p_value(parts), found.pvalue, rtol=1e-6)


def test_where_examples_do_not_matter_it_is_students_test_over_seeds():
    seeds = DRAW.normal(0.4, 1, 4)
    scores = np.repeat(seeds[:, None], 50, axis=1)
    assert np.allclose(limits(one_arm(scores)), limits(only_seeds(seeds)))
    others = DRAW.normal(0.0, 1, 3)
    parts = two_arms(scores, np.repeat(others[:, None], 50, axis=1))
    assert np.allclose(limits(parts), limits(seeds_of_two(seeds, others)))


def test_where_seeds_do_not_matter_it_is_students_test_over_examples():
    examples = symmetric((1, 40)) + 1.0
    same = np.repeat(examples, 3, axis=0)
    assert np.allclose(limits(one_arm(same)), limits(one_arm(examples)))
    assert np.allclose(limits(two_arms(same, np.zeros((2, 40)))), limits(one_arm(examples)))


def test_one_seed_of_right_and_wrong_is_agresti_and_coulls_interval():
    for right, count in ((0, 20), (7, 20), (500, 500)):
        scores = np.array([[1.0] * right + [0.0] * (count - right)])
        share = (right + 2) / (count + 4)
        half = 1.959963984540054 * np.sqrt(share * (1 - share) / (count + 4))
        assert np.allclose(limits(one_arm(scores, SHARE)), (share - half, share + half))


def test_one_seed_of_paired_right_and_wrong_is_agresti_and_mins_interval():
    # Agresti and Min 2005: 0.5 in each cell of the table of pairs, then Wald's interval.
    both, ours, theirs, neither = 10, 7, 2, 31
    differences = np.array([[0.0] * both + [1.0] * ours + [-1.0] * theirs + [0.0] * neither])
    total, b, c = both + ours + theirs + neither + 2, ours + 0.5, theirs + 0.5
    value = (b - c) / total
    half = 1.959963984540054 * np.sqrt((b + c) - (b - c) ** 2 / total) / total
    assert np.allclose(limits(one_arm(differences, DIFFERENCE)), (value - half, value + half))


def test_the_variance_is_that_of_the_analysis_of_variance():
    k, n = 4, 25
    scores = DRAW.normal(size=(k, 1)) + DRAW.normal(size=(1, n)) * 2 + DRAW.normal(size=(k, n))
    grand = scores.mean()
    of_seeds = n * ((scores.mean(1) - grand) ** 2).sum() / (k - 1)
    of_examples = k * ((scores.mean(0) - grand) ** 2).sum() / (n - 1)
    rest = ((scores - scores.mean(1, keepdims=True) - scores.mean(0) + grand) ** 2).sum() / ((k - 1) * (n - 1))
    assert np.isclose(one_arm(scores).variance, (of_seeds + max(of_examples - rest, 0)) / (k * n))


def test_a_skewed_mean_reaches_farther_to_the_side_of_the_tail():
    scores = np.array([[0.0] * 30 + [5.0, 9.0]])
    low, high = limits(one_arm(scores))
    assert high - scores.mean() > scores.mean() - low
    assert np.allclose(limits(one_arm(-scores)), (-high, -low))


def test_a_batch_is_its_members():
    batch = DRAW.normal(0.2, 1, (5, 3, 20))
    low, high = limits(one_arm(batch))
    p = p_value(one_arm(batch))
    for place in range(5):
        one = one_arm(batch[place])
        assert np.allclose(limits(one), (low[place], high[place]))
        assert np.isclose(p_value(one), p[place])
    other = DRAW.normal(0, 1, (5, 2, 20))
    assert np.allclose(limits(two_arms(batch, other))[0][2], limits(two_arms(batch[2], other[2]))[0])


SCORES = hnp.arrays(
    float,
    st.tuples(st.integers(1, 4), st.integers(2, 12)),
    elements=st.floats(-100, 100).map(lambda x: round(x, 3)),
)


@given(SCORES, st.booleans())
@example(np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), True)
@settings(max_examples=60)
def test_p_is_below_the_level_exactly_where_the_interval_leaves_zero_out(scores, smooth):
    pseudo = None if smooth else DIFFERENCE
    parts = one_arm(scores if smooth else np.sign(scores), pseudo)
    assume(float(parts.variance) > 1e-9)
    low, high = limits(parts)
    p = float(p_value(parts))
    assert 0 <= p <= 1
    assume(abs(p - 0.05) > 1e-6)
    assert (p < 0.05) == (low > 0 or high < 0)


@given(SCORES, st.floats(0.1, 50), st.floats(-50, 50))
@settings(max_examples=50)
def test_intervals_move_and_stretch_with_the_scores(scores, factor, shift):
    parts = one_arm(scores)
    assume(float(parts.variance) > 1e-6)
    low, high = limits(parts)
    moved = limits(one_arm(scores * factor + shift))
    assert np.allclose(moved, (low * factor + shift, high * factor + shift), rtol=1e-5, atol=1e-5)
    turned = limits(one_arm(-scores))
    assert np.allclose(turned, (-high, -low), rtol=1e-5, atol=1e-5)


@given(SCORES)
@settings(max_examples=50)
def test_the_order_of_seeds_and_examples_does_not_matter(scores):
    parts = one_arm(scores)
    again = one_arm(scores[::-1, ::-1])
    assert np.allclose(limits(parts), limits(again), rtol=1e-6, atol=1e-9)


def test_higher_levels_are_wider_and_p_needs_variance():
    parts = one_arm(DRAW.normal(size=(2, 30)))
    widths = [float(np.subtract(*limits(parts, level)[::-1])) for level in (0.5, 0.9, 0.95, 0.99)]
    assert widths == sorted(widths)
    assert np.isnan(p_value(one_arm(np.ones((2, 5)))))


def test_what_cannot_be_estimated_is_refused():
    for wrong in (np.ones((1, 1)), np.array([[1.0, np.nan]]), np.ones((0, 4))):
        with pytest.raises(ValueError, match=r"score|example"):
            one_arm(wrong)
    with pytest.raises(ValueError, match="single seed"):
        two_arms(np.ones((1, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="two seeds"):
        only_seeds(np.ones(1))
    with pytest.raises(ValueError, match="two seeds"):
        seeds_of_two(np.ones(2), np.ones(1))


def test_right_wrong_and_ties_are_binary_and_shares_are_not():
    assert binary(np.array([[0.0, 1.0, 0.5]]))
    assert not binary(np.array([[0.0, 1.0]]), np.array([[0.25]]))
    assert crossed.LEVEL == 0.95
