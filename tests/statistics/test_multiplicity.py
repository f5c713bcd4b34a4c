"""Holm's correction."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.statistics.power import holm

PS = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_values_of_r():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    # p.adjust(c(0.9, 0.001, 0.04), "holm")
    assert holm([0.9, 0.001, 0.04]) == pytest.approx([0.9, 0.003, 0.08])


@settings(max_examples=60)
@given(PS)
def test_between_the_raw_p_and_bonferronis(ps):
    adjusted = holm(ps)
    for p, found in zip(ps, adjusted, strict=True):
        assert p <= found <= min(1, p * len(ps))
    assert [adjusted[i] for i in np.argsort(ps, kind="stable")] == sorted(adjusted)


@settings(max_examples=60)
@given(PS, st.sampled_from([0.01, 0.05, 0.2]))
def test_rejects_what_holms_steps_reject(ps, level):
    rejected = set()
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        if ps[place] * (len(ps) - rank) > level:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(ps)) if p <= level} == rejected


def test_what_was_not_tested_does_not_count():
    adjusted = holm([0.01, math.nan, 0.02])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.02)
    assert holm([]) == []
    with pytest.raises(ValueError, match="no probability"):
        holm([1.5])


def test_false_discoveries_of_twenty_arms_stay_below_the_level():
    draw = np.random.default_rng(0)
    any_found = [min(holm(list(draw.uniform(size=20)))) < 0.05 for _ in range(2000)]
    assert 0.03 < np.mean(any_found) < 0.065
