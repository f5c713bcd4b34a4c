"""A time limit that the scheduler does not keep: the work is asked to save ahead of it, and killed at it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from rlpipe.launchers.attempt import MARGIN, Attempt
from rlpipe.records.sweep import Job, Kind, Sweep


class Work:
    """Stands for a process that goes on whatever it is told."""

    def __init__(self) -> None:
        self.signals: list[signal.Signals] = []

    def poll(self) -> None:
        return None

    def send_signal(self, number: signal.Signals) -> None:
        self.signals.append(number)

    def kill(self) -> None:
        self.signals.append(signal.SIGKILL)


class Limited(Attempt):
    several = False

    def start(self):
        raise AssertionError("nothing is started")

    def queue_again(self):
        return "queued again"


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Limited:
    sweep = Sweep.create(tmp_path / "sweep", cwd=str(tmp_path), settings={})
    sweep.add([Job("0", Kind.arm, (), str(tmp_path / "0"))])
    made = Limited(sweep.job_folder(sweep.jobs[0]), 600, 60)
    made.child = Work()  # type: ignore[assignment]
    alarms: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: alarms.append(round(seconds)))
    made.alarms = alarms  # type: ignore[attr-defined]
    return made


def test_it_asks_first_and_kills_at_the_limit(attempt):
    attempt._wake(attempt.grace)
    attempt._alarm(signal.SIGALRM, None)
    assert attempt.child.signals == [signal.SIGTERM]
    assert attempt.requested is signal.SIGALRM
    attempt._alarm(signal.SIGALRM, None)
    assert attempt.child.signals == [signal.SIGTERM, signal.SIGKILL]
    assert attempt.alarms == [600 - 60, 600 - min(MARGIN, 6)]


def test_a_work_that_was_asked_to_stop_before_is_killed_at_the_alarm(attempt):
    attempt._request(signal.SIGTERM, None)
    attempt._request(signal.SIGTERM, None)
    attempt._alarm(signal.SIGALRM, None)
    assert attempt.child.signals == [signal.SIGTERM, signal.SIGKILL]
    assert attempt.requested is signal.SIGTERM
