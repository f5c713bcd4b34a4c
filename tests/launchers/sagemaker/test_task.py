"""What a container's task does before and after the work."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from rlpipe.launchers.sagemaker.task import Task
from rlpipe.records.provenance import packages
from rlpipe.records.sweep import JOB_ID, STOPPED, Ended, Outcome


@pytest.mark.parametrize(("key", "runs"), [("sft", False), ("0", False), ("2", True)])
def test_other_packages_than_the_stage_was_named_by_are_refused(make, monkeypatch, capsys, key, runs):
    made = make()
    monkeypatch.setenv(JOB_ID, "ID-1")
    monkeypatch.setattr("rlpipe.launchers.attempt.Attempt.run", lambda self: 0)
    task = Task(made.sweep.job_folder(made.jobs[key]), {**packages(), "torch": "0.1"})
    assert (task.run() == 0) is runs
    if not runs:
        assert made.ended(key)[0] == "failed"
        assert "torch 0.1 where it was submitted" in (made.ended(key)[1] or "")
        assert "make the image with the packages" in capsys.readouterr().err


def test_the_right_to_write_of_an_attempt_that_is_gone_is_nobodys(make, monkeypatch):
    made = make()
    lease = Path(made.jobs["2"].run_dir) / ".lease"
    lease.mkdir(parents=True)
    (lease / "1").touch()
    monkeypatch.setattr("rlpipe.launchers.attempt.Attempt.run", lambda self: 0)
    assert Task(made.sweep.job_folder(made.jobs["2"]), packages()).run() == 0
    assert not lease.exists()


def test_one_that_is_asked_to_stop_has_saved_and_leaves_the_rest_to_others(make):
    made = make()
    made.launcher.prepare()
    made.launcher.queue.note([made.jobs["2"]])
    task = Task(made.sweep.job_folder(made.jobs["2"]), packages())
    task.requested, task.requested_at = signal.SIGTERM, task.begun + 1
    outcome = Outcome(Ended.stopped, error="stopped after step 3")
    assert task.ended(STOPPED, outcome) == STOPPED
    assert made.ended("2")[0] == "stopped"
    assert "it goes on" in (made.ended("2")[1] or "")
