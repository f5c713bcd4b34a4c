"""pass@k against counting, and the bounds that it keeps."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.statistics.intervals import pass_at_k


@pytest.mark.parametrize(("count", "right", "k"), [(5, 2, 1), (5, 2, 2), (6, 1, 3), (6, 3, 4), (4, 0, 2), (4, 4, 4)])
def test_it_is_the_share_of_choices_that_hold_a_right_one(count, right, k):
    choices = list(combinations([True] * right + [False] * (count - right), k))
    assert pass_at_k(count, right, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_large_numbers_do_not_overflow():
    assert pass_at_k(10_000, 3, 100) == pytest.approx(1 - comb(9997, 100) / comb(10_000, 100))


@given(st.integers(1, 60), st.data())
def test_it_grows_with_k_and_with_right_ones(count, data):
    right, k = data.draw(st.integers(0, count)), data.draw(st.integers(1, count))
    value = pass_at_k(count, right, k)
    assert 0 <= value <= 1
    assert pass_at_k(count, right, 1) == pytest.approx(right / count)
    if k < count:
        assert pass_at_k(count, right, k + 1) >= value - 1e-12
    if right < count:
        assert pass_at_k(count, right + 1, k) >= value - 1e-12


@pytest.mark.parametrize(("count", "right", "k"), [(4, 2, 5), (4, 2, 0), (4, 5, 1), (4, -1, 1), (0, 0, 1)])
def test_what_cannot_be_estimated_is_refused(count, right, k):
    with pytest.raises(ValueError, match="cannot be"):
        pass_at_k(count, right, k)
