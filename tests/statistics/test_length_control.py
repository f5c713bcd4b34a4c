"""The length-controlled win rate against scikit-learn, and on preferences whose cause is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.statistics.length_control import PRIOR_VARIANCE, fit, length_controlled_win_rate

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=60)


def drawn(count: int, quality: float, length: float, seed: int, longer: float = 100.0) -> tuple[list, list]:
    """Preferences by a known law: `quality` and `length` are the logit's two terms."""
    rng = np.random.default_rng(seed)
    differences = rng.normal(longer, 150.0, count).round()
    logits = quality + length * np.tanh(differences / differences.std(ddof=1))
    return list((rng.random(count) < 1 / (1 + np.exp(-logits))).astype(float)), list(differences)


@given(SCORES)
def test_with_equal_lengths_it_is_the_win_rate(scores):
    assert length_controlled_win_rate(scores, [0] * len(scores)) == pytest.approx(np.mean(scores), abs=1e-12)


@given(SCORES.filter(lambda scores: len(scores) > 1), st.integers(0, 10**6))
def test_the_other_side_sees_the_complement_and_the_unit_does_not_count(scores, seed):
    differences = np.random.default_rng(seed).integers(-200, 300, len(scores))
    here = length_controlled_win_rate(scores, differences)
    there = length_controlled_win_rate([1 - score for score in scores], -differences)
    words = length_controlled_win_rate(scores, differences / 5)
    if here is None:
        assert there is None
    else:
        assert 0 <= here <= 1
        assert there == pytest.approx(1 - here, abs=1e-6)
        assert words == pytest.approx(here, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_policy_that_wins_only_by_length_falls_to_one_half(seed):
    scores, differences = drawn(4000, quality=0.0, length=2.0, seed=seed)
    assert np.mean(scores) > 0.62
    assert length_controlled_win_rate(scores, differences) == pytest.approx(0.5, abs=0.04)


def test_a_judge_that_always_takes_the_longer_one_is_seen_through():
    differences = np.random.default_rng(0).normal(120, 150, 1000).round()
    scores = np.where(differences > 0, 1.0, np.where(differences < 0, 0.0, 0.5))
    assert scores.mean() > 0.75
    assert length_controlled_win_rate(list(scores), list(differences)) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("seed", range(5))
def test_quality_is_kept(seed):
    """A better policy that writes shorter answers to a judge that likes long ones."""
    scores, differences = drawn(4000, quality=1.0, length=2.0, seed=seed, longer=-100.0)
    assert np.mean(scores) < 0.55
    assert length_controlled_win_rate(scores, differences) == pytest.approx(1 / (1 + np.exp(-1.0)), abs=0.04)


def test_the_regression_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    for seed in range(4):
        scores, differences = drawn(80, 0.4, 1.0, seed)
        features = np.stack([np.ones(80), np.tanh(np.array(differences) / 150)], axis=1)
        theirs = linear_model.LogisticRegression(C=PRIOR_VARIANCE, fit_intercept=False, tol=1e-10).fit(features, scores)
        assert fit(features, np.array(scores)) == pytest.approx(theirs.coef_[0], rel=1e-4)


def test_a_tie_counts_as_half_a_win_and_half_a_loss():
    differences = [5.0, -3.0, 8.0, 1.0]
    ties = length_controlled_win_rate([1, 0.5, 0.5, 0], differences)
    features = np.tanh(np.array(differences * 2) / np.std(differences, ddof=1))
    beta = fit(
        np.stack([np.ones(8), features], axis=1), np.array([1, 1, 1, 0, 1, 0, 0, 0], dtype=float), PRIOR_VARIANCE / 2
    )
    assert ties == pytest.approx(1 / (1 + np.exp(-beta[0])))


def test_what_cannot_be_told_is_not_told():
    assert length_controlled_win_rate([1, 0, 1], [7, 7, 7]) is None
    assert length_controlled_win_rate([1], [3]) is None
    assert length_controlled_win_rate([1.0] * 50, list(range(1, 51))) > 0.9
    with pytest.raises(ValueError, match="no examples"):
        length_controlled_win_rate([], [])
    with pytest.raises(ValueError, match="between 0 and 1"):
        length_controlled_win_rate([2.0], [1.0])
    with pytest.raises(ValueError, match="finite"):
        length_controlled_win_rate([1.0], [float("nan")])
