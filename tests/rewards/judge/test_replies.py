"""What a judge reads and keeps: scores in replies, questions in words, calls that are counted."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rlpipe.rewards.judge.asking import BudgetSpent, Replies
from rlpipe.rewards.judge.judge import Judge
from rlpipe.rewards.judge.questions import named_numbers, rubric_score, shown


def test_calls_of_several_processes_are_counted_together(tmp_path):
    one, two = (Replies(tmp_path / "r.sqlite", "run", 3) for _ in range(2))
    other = Replies(tmp_path / "r.sqlite", "other run", 1)
    one.spend(), two.spend(), one.spend(), other.spend()
    for replies in (one, two, other):
        with pytest.raises(BudgetSpent):
            replies.spend()
    assert (one.calls, other.calls) == (3, 1)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Score: 7", 7),
        ("score = 7.5", 7.5),
        ("**Score:** 8/10", 8),
        ("Score: 3 … on reflection, Score: 4", 4),
        ("The score is high", None),
        (" 6 ", 6),
        ("7 out of 10", None),
        ("Score: 1e999", None),
        ("Score: " + "9" * 100_000, None),
        ("", None),
    ],
)
def test_scores_in_replies(reply, score):
    if score is None:
        with pytest.raises(ValueError, match=r"no score|too large"):
            rubric_score(reply)
    else:
        assert rubric_score(reply) == score


@given(some.text())
def test_no_reply_breaks_the_reading(reply):
    named_numbers(reply)
    with contextlib.suppress(ValueError):
        assert isinstance(rubric_score(reply), float)


def test_a_conversation_is_shown_with_who_says_what():
    said = [{"role": role, "content": text} for role, text in [("system", "Be brief."), ("user", "Why?")]]
    assert shown(said) == "system: Be brief.\n\nuser: Why?"
    assert shown(said[1:]) == "Why?"


def test_every_setting_that_makes_no_sense_is_said_at_once(monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    config = Judge.Config(name="judge", url="localhost:80", key_env="NO_KEY", rubric="?", low=1, high=1)
    assert [one.where for one in Judge(config).problems()] == ["url", "model", "key_env", "rubric", "high"]
