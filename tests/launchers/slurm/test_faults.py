"""What goes wrong in jobs on a real SLURM, and what becomes of it."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

pytestmark = pytest.mark.slurm


def fine():
    print("hello from a job")


def raises():
    raise ValueError("boom")


def exits():
    sys.exit(3)


def crashes():
    os.kill(os.getpid(), signal.SIGSEGV)


def hogs():
    held = []
    while True:
        held.append(bytearray(10_000_000))
        time.sleep(0.02)


def test_each_failure_is_told_as_what_it_is_and_harms_no_other_arm(study):
    made = study({"0": fine, "1": raises, "2": exits, "3": crashes})
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"0": "ok", "1": "failed", "2": "failed", "3": "failed"}
    assert "hello from a job" in made.log("0")
    assert made.outcome("1").error == "ValueError: boom"
    assert 'raise ValueError("boom")' in made.outcome("1").traceback
    assert 'raise ValueError("boom")' in made.log("1")
    assert made.outcome("2").exit_code == 3
    assert made.outcome("3").error == "exit 139 (SIGSEGV)"
    assert "Segmentation fault" in made.log("3")


def test_a_job_that_takes_too_much_memory_says_so(study):
    made = study({"0": hogs, "1": fine})
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"0": "failed", "1": "ok"}
    assert "OUT_OF_MEMORY" in made.outcome("0").error or "SIGKILL" in made.outcome("0").error


def test_a_stage_that_fails_cancels_what_needs_it_with_the_reason(study):
    made = study({"0": fine, "1": fine}, {"sft": raises})
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"sft": "failed", "0": "cancelled", "1": "cancelled"}
    assert made.outcome("0").error == "stage sft, which it needs, failed: ValueError: boom"
    made.until(lambda: not made.launcher.living())


def test_arms_start_when_their_stage_is_done(study, tmp_path):
    mark = tmp_path / "mark"

    def stage():
        time.sleep(1)
        mark.write_text("built")

    def arm():
        assert mark.exists()

    made = study({"0": arm, "1": arm}, {"sft": stage})
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: made.launcher.statuses(made.sweep.jobs)["0"].reason == "Dependency")
    assert made.all_over() == {"sft": "ok", "0": "ok", "1": "ok"}
