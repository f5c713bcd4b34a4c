"""Comparing in both orders: who wins, what is a tie, and what a judge owes to the order."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.datasets.forms import Prompt
from rlpipe.rewards.judge.pairwise import Choice, Pair, Verdict, compare, position_bias
from rlpipe.rewards.judge.questions import preference

PROMPT = Prompt("train/0", [{"role": "user", "content": "Why?"}])
ANSWERS = (Choice.first, Choice.second, Choice.tie, None)
FIRST, SECOND, TIE = Choice.first, Choice.second, Choice.tie


class Longest:
    """Prefers the longer answer whatever its place; remembers what it was asked."""

    def __init__(self, answer=None):
        self.answer = answer or (lambda pair: FIRST if len(pair.first) > len(pair.second) else SECOND)
        self.asked: list[Pair] = []

    def prefer(self, pairs):
        self.asked += pairs
        return [self.answer(pair) for pair in pairs]


def pair(first: str, second: str) -> Pair:
    return Pair(PROMPT, first, second)


def test_a_judge_that_looks_at_the_answers_is_followed_in_either_order():
    verdicts = compare(Longest(), [pair("long one", "short"), pair("a", "much longer"), pair("xyz", "x")])
    assert [one.winner for one in verdicts] == [FIRST, SECOND, FIRST]
    bias = position_bias(verdicts)
    assert (bias.first_rate, bias.consistency, bias.always, bias.note()) == (0.5, 1.0, None, None)


@pytest.mark.parametrize("place", [FIRST, SECOND])
def test_a_judge_that_goes_by_the_place_makes_ties_and_is_named(place):
    verdicts = compare(Longest(lambda pair: place), [pair(str(n), "other") for n in range(6)])
    assert {one.winner for one in verdicts} == {TIE}
    bias = position_bias(verdicts)
    assert bias.always is place
    assert bias.first_rate == (1.0 if place is FIRST else 0.0)
    assert bias.consistency == 0.0
    assert f"named the {place.value} answer in all 12 questions" in str(bias.note())


def test_few_comparisons_do_not_convict_a_judge():
    verdicts = compare(Longest(lambda pair: FIRST), [pair(str(n), "other") for n in range(4)])
    assert position_bias(verdicts).always is None


def test_a_strong_leaning_is_told_with_its_rate():
    leaning = [Verdict(FIRST, FIRST)] * 12 + [Verdict(FIRST, SECOND)] * 8
    bias = position_bias(leaning)
    assert bias.always is None
    assert bias.first_rate == pytest.approx((24 + 8) / 40)
    assert bias.p_value == pytest.approx(2 / 2**12)
    assert "named the first answer in 80% of 40 answers" in str(bias.note())
    assert position_bias([Verdict(FIRST, FIRST)] * 3 + [Verdict(SECOND, SECOND)] * 3).note() is None


def test_equal_answers_are_a_tie_that_nobody_is_asked_about():
    judge = Longest()
    verdicts = compare(judge, [pair("same", "same"), pair("long one", "short")])
    assert [one.winner for one in verdicts] == [TIE, FIRST]
    assert len(judge.asked) == 2
    assert compare(judge, []) == []


@pytest.mark.parametrize(("forward", "backward"), list(itertools.product(ANSWERS, ANSWERS)))
def test_only_a_win_in_both_orders_is_a_win(forward, backward):
    verdict = Verdict(forward, backward)
    wins = {(FIRST, SECOND): FIRST, (SECOND, FIRST): SECOND}
    assert verdict.winner is wins.get((forward, backward), TIE)
    assert verdict.readable == (forward is not None and backward is not None)


VERDICTS = st.lists(st.builds(Verdict, st.sampled_from(ANSWERS), st.sampled_from(ANSWERS)), max_size=60)


@given(VERDICTS)
def test_counts_add_up_and_swapping_every_pair_changes_the_winner_alone(verdicts):
    bias = position_bias(verdicts)
    assert bias.comparisons + bias.unreadable == len(verdicts)
    ties = sum(one.readable and one.winner is TIE for one in verdicts)
    decided = bias.comparisons - ties
    assert decided <= bias.agreeing <= bias.comparisons
    assert bias.both_first + bias.both_second <= bias.comparisons - decided
    assert 0 <= bias.p_value <= 1
    assert all(value >= 0 for value in bias.numbers().values())
    swapped = [Verdict(one.backward, one.forward) for one in verdicts]
    opposite = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}
    assert [one.winner for one in swapped] == [opposite[one.winner] for one in verdicts]
    assert position_bias(swapped) == bias


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=20))
def test_a_judge_without_bias_never_looks_biased(texts):
    def fair(asked: Pair) -> Choice:
        return TIE if asked.first == asked.second else FIRST if asked.first > asked.second else SECOND

    verdicts = compare(Longest(fair), [pair(*both) for both in texts])
    expected = [TIE if a == b else FIRST if a > b else SECOND for a, b in texts]
    assert [one.winner for one in verdicts] == expected
    bias = position_bias(verdicts)
    assert bias.first_rate in (None, 0.5)
    assert bias.note() is None


def test_the_sign_test_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    for first, second in itertools.product(range(8), range(8)):
        bias = position_bias([Verdict(FIRST, FIRST)] * first + [Verdict(SECOND, SECOND)] * second)
        expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
        assert bias.p_value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("Both are fine.\nBetter: A", FIRST),
        ("**Better:** B", SECOND),
        ("Better: [[tie]].", TIE),
        ("better: Tie", TIE),
        ("Better: B\nOn second thought\nBetter: A", FIRST),
        ("B", SECOND),
        ("[[A]]", FIRST),
        ("TIE.", TIE),
    ],
)
def test_a_preference_is_read(reply, choice):
    assert preference(reply) is choice


@pytest.mark.parametrize(
    "reply", ["", "Better: neither", "it would be better: a lot", "Better: Apples", "A and B", "C"]
)
def test_a_reply_without_one_is_refused(reply):
    with pytest.raises(ValueError, match="names no better answer"):
        preference(reply)


@given(st.text(max_size=200))
def test_no_reply_breaks_the_reader(reply):
    with contextlib.suppress(ValueError):
        assert preference(reply) in Choice
