"""What becomes of a job whose work did not end in good order."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from rlpipe.launchers.slurm.task import Task
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    sweep = Sweep.create(tmp_path / "sweep", cwd=str(tmp_path), settings={"time": "10:00", "grace": 60})
    sweep.add(
        [
            Job("sft", Kind.stage, (), str(tmp_path / "sft")),
            Job("0", Kind.arm, (), str(sweep.folder / "0"), ("sft",)),
        ]
    )
    for job in sweep.jobs:
        sweep.job_folder(job).mkdir(parents=True)
    monkeypatch.setattr("rlpipe.launchers.slurm.task.requeue", lambda most: "queued again")
    return Task(sweep.folder / ".launch" / "sft")


def asked(task: Task, seconds_in: float = 1.0) -> None:
    task.requested, task.requested_at = signal.SIGUSR2, task.begun + seconds_in


def ended(task: Task, key: str = "sft") -> tuple[str, str | None]:
    outcome = task.sweep.outcome(next(job for job in task.sweep.jobs if job.key == key))
    return outcome.ended.value, outcome.error


def test_a_stage_that_failed_tells_the_arms_that_need_it(task):
    assert task.ended(137, Outcome(Ended.running)) == 137
    assert ended(task)[0] == "failed"
    assert "SIGKILL" in ended(task)[1]
    assert ended(task, "0") == ("cancelled", f"stage sft, which it needs, failed: {ended(task)[1]}")


def test_who_was_asked_to_stop_is_queued_again_whatever_ended_it(task):
    asked(task)
    assert task.ended(1, Outcome(Ended.failed, error="a worker died", time=time.time() + 5)) == 75
    assert ended(task) == ("stopped", "a worker died; queued again")


def test_an_error_from_before_the_request_is_the_run_s_own(task):
    asked(task, seconds_in=60)
    assert task.ended(1, Outcome(Ended.failed, error="boom", time=task.begun + 1)) == 1


@pytest.mark.parametrize("done", [Ended.ok, Ended.pruned])
def test_a_request_that_comes_when_all_is_done_changes_nothing(task, done):
    asked(task)
    assert task.ended(143, Outcome(done)) == 0


def test_a_whole_time_limit_for_nothing_is_a_failure_but_not_one_that_left_a_checkpoint(task):
    asked(task, seconds_in=560)
    assert task.ended(137, Outcome(Ended.running)) == 75
    assert ended(task)[0] == "failed"
    assert "longer hydra.launcher.time" in ended(task)[1]
    kept = Path(task.job.run_dir) / "checkpoints"
    kept.mkdir(parents=True)
    (kept / "weights").touch()
    assert task.ended(137, Outcome(Ended.running)) == 75
    assert ended(task) == ("stopped", "SIGUSR2 came before there was anything to save; queued again")


@pytest.mark.parametrize(
    ("code", "words"), [(3, "exit 3, and no word of why"), (139, "exit 139 (SIGSEGV)"), (255, "exit 255")]
)
def test_exit_codes_in_words(task, code, words):
    assert task.how(code) == words
