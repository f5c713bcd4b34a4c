"""Evaluations' sums over rows, on rows made by hand."""

from __future__ import annotations

import math

import pytest

from rlpipe.config.kinds import EvaluationConfig
from rlpipe.evaluations.choice import ChoiceAccuracy
from rlpipe.evaluations.perplexity import Perplexity, PerplexityConfig
from rlpipe.evaluations.preference import PreferenceAccuracy

CONFIG = EvaluationConfig(name="x")


def pair(score: float, margin: float, tokens: int | None = 3) -> dict:
    counts = {} if tokens is None else {"chosen_tokens": tokens, "rejected_tokens": tokens}
    return {"id": "a", "score": score, "parts": {"margin": margin, **counts}}


def test_preference_counts_ties_as_half_and_compares_margins_with_the_start():
    evaluation = PreferenceAccuracy(CONFIG)
    start = [pair(1.0, 2.0), pair(0.0, -1.0), pair(0.5, 0.0), pair(1.0, 4.0)]
    after = [pair(1.0, 3.0), pair(1.0, 1.0), pair(0.5, 0.0), pair(0.0, -1.0)]
    numbers = evaluation.summary(after, start)
    assert numbers["accuracy"] == pytest.approx(2.5 / 4)
    assert numbers["margin"] == pytest.approx(3 / 4)
    assert numbers["reward_accuracy"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert numbers["reward_margin"] == pytest.approx((1 + 2 + 0 - 5) / 4)
    assert evaluation.summary(start, None)["reward_accuracy"] == 0.5


def test_a_reward_models_margins_are_not_taken_for_implicit_rewards():
    rows = [pair(1.0, 2.0, tokens=None)]
    assert set(PreferenceAccuracy(CONFIG).summary(rows, rows)) == {"accuracy", "margin"}


def test_perplexity_weighs_tokens_not_rows():
    rows = [{"parts": {"logp": -2.0, "tokens": 1}}, {"parts": {"logp": -3.0, "tokens": 9}}]
    numbers = Perplexity(PerplexityConfig(name="x")).summary(rows, None)
    assert set(numbers) == {"perplexity", "loss"}
    assert numbers["loss"] == pytest.approx(0.5)
    assert numbers["perplexity"] == pytest.approx(math.exp(0.5))


def test_choice_reports_whole_and_per_token():
    rows = [{"score": score, "parts": {"per_token": 0.0}} for score in (1.0, 0.0)]
    assert ChoiceAccuracy(CONFIG).summary(rows, None) == {"accuracy": 0.5, "accuracy_per_token": 0.0}
