"""The progress of counted work: a bar on a terminal, a line where it took time, nothing where it was wanted off."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rlpipe.core import progress
from rlpipe.core.progress import Counting


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def counted(clock, seconds: float, terminal: bool = False, **settings: object) -> str:
    out = io.StringIO()
    with Counting("accuracy before", 4, on=Console(file=out, force_terminal=terminal, width=80), **settings) as count:
        for done in range(settings.get("done", 0) + 1, 5):
            clock.now += seconds
            count.advance(done)
    return out.getvalue()


def test_what_it_cost_is_said_at_the_end(clock):
    assert counted(clock, 1.0) == "accuracy before: 4 examples in 4s\n"
    assert counted(clock, 1.0, done=3, unit="puzzle") == ""
    assert counted(clock, 4.0, done=3, unit="puzzle") == "accuracy before: 1 puzzle in 4s\n"


def test_long_work_without_a_terminal_says_now_and_then_how_far_it_is(clock):
    assert counted(clock, 40.0).splitlines() == [
        "accuracy before: 1/4  2:00 left",
        "accuracy before: 2/4  1:20 left",
        "accuracy before: 3/4  40s left",
        "accuracy before: 4 examples in 2:40",
    ]


def test_a_terminal_gets_a_bar_that_goes_away(clock):
    assert "accuracy before" in counted(clock, 0.1, terminal=True)


def test_work_that_is_over_at_once_or_that_failed_says_nothing(clock):
    assert counted(clock, 0.1) == ""
    assert counted(clock, 9.0, enabled=False) == ""
    with pytest.raises(TypeError):
        counted(clock, "not a number of seconds")
