"""What a judge reads and keeps: scores in replies, questions in words, calls that are counted."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rlpipe.core.errors import RecordError
from rlpipe.records.lease import Lost, acquire
from rlpipe.rewards.judge import asking
from rlpipe.rewards.judge.asking import BudgetSpent, Replies
from rlpipe.rewards.judge.judge import Judge
from rlpipe.rewards.judge.questions import named_numbers, rubric_score, shown
from tests.records.takeover import take_over


def test_calls_of_several_processes_are_counted_together(tmp_path):
    one, two = (Replies(tmp_path / "r.sqlite", "run", 3) for _ in range(2))
    other = Replies(tmp_path / "r.sqlite", "other run", 1)
    one.spend(), two.spend(), one.spend(), other.spend()
    for replies in (one, two, other):
        with pytest.raises(BudgetSpent):
            replies.spend()
    assert (one.calls, other.calls) == (3, 1)


def test_one_that_was_suspended_and_lost_the_run_keeps_and_spends_nothing(tmp_path):
    lease = acquire(tmp_path)
    replies = Replies(tmp_path / "r.sqlite", "run", None)
    replies.keep("question", "of its successor")
    take_over(tmp_path)
    for change in (replies.spend, lambda: replies.keep("question", "of its own")):
        with pytest.raises(Lost):
            change()
    assert (replies.find("question"), replies.calls) == ("of its successor", 0)
    lease.release()


def test_one_that_was_suspended_in_a_write_keeps_no_successor_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "LOCKED", 0.01)
    first = asking.own_file(tmp_path)
    Replies(first, "run", None).keep("question", "reply")
    assert asking.own_file(tmp_path) == first  # what is open stays open
    suspended = sqlite3.connect(first, isolation_level=None)
    suspended.executescript("PRAGMA cache_size = 1; BEGIN EXCLUSIVE; UPDATE replies SET reply = 'half'")
    suspended.executemany("INSERT INTO replies VALUES (?, ?)", [(str(row), "x" * 4000) for row in range(50)])
    asking._own.clear()  # as in another process
    second = asking.own_file(tmp_path)
    successor = Replies(second, "run", None)
    assert (successor.find("question"), successor.find("7")) == ("reply", None)
    successor.keep("another", "one")
    with contextlib.suppress(sqlite3.Error):
        suspended.execute("COMMIT")
    assert (successor.find("question"), successor.find("another")) == ("reply", "one")
    assert [file.name for file in tmp_path.iterdir()] == ["replies.2.sqlite"]


def test_a_file_that_cannot_be_used_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "LOCKED", 0.01)
    file = tmp_path / "r.sqlite"
    replies = Replies(file, "run", None)
    for number in range(100):
        replies.keep(str(number), "x" * 100)
    suspended = sqlite3.connect(file, isolation_level=None)
    suspended.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RecordError, match="locked") as locked:
        replies.keep("question", "reply")
    assert "no other process has the file open" in locked.value.fix
    suspended.close()
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 8192)
    with pytest.raises(RecordError, match="cannot be read from there") as damaged:
        Replies(file, "run", None).find("7")
    assert damaged.value.fix.startswith("delete it")


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
