"""What was submitted to the pool and is not answered yet, as the sweep's folder says.

Every row of `.launch/submissions.jsonl` is one submission. A job is waiting while its newest submission is answered
by no process and no outcome. Requests to cancel are empty files in `.launch/local/cancel/`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from rlpipe.launchers.local import process
from rlpipe.records.sweep import SWEEP_FILE, Ended, Job, Outcome, Sweep

NAME = "local"


@dataclass(frozen=True)
class Blocked:
    """Why a job does not start; without a reason it can."""

    reason: str = ""
    never: bool = False
    """What it needs will not come by itself."""


class Queue:
    """The submissions of one sweep."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        self._jobs = {job.key: job for job in sweep.jobs}
        self._submissions: dict[str, tuple[int, float]] = {}
        self._seen: tuple[int, ...] = ()
        self._answered: dict[str, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what has been added since."""
        files = (self.sweep.folder / SWEEP_FILE, self.sweep.folder / ".launch" / "submissions.jsonl")
        seen = tuple(file.stat().st_mtime_ns for file in files if file.exists())
        if seen == self._seen:
            return
        self._seen = seen
        self.sweep = Sweep.load(self.sweep.folder)
        self._jobs = {job.key: job for job in self.sweep.jobs}
        rows = [row for row in self.sweep.submissions if row["launcher"] == NAME]
        self._submissions = {key: (number, row["time"]) for number, row in enumerate(rows, 1) for key in row["keys"]}
        for key in self._submissions:
            if self._answered.get(key) != self.submission(key) and self._is_answered(key):
                self.answered(key)

    def job(self, key: str) -> Job:
        """Return a job by its key."""
        return self._jobs[key]

    def submission(self, key: str) -> int:
        """Return the number of a job's newest submission, 0 for none."""
        return self._submissions.get(key, (0, 0.0))[0]

    def answered(self, key: str) -> None:
        """Note that a job's newest submission has been seen to."""
        self._answered[key] = self.submission(key)

    def waiting(self, running: Container[str]) -> list[Job]:
        """Return the jobs whose newest submission is not answered, in the sweep's order; those that run come again."""
        return [
            job
            for key, job in self._jobs.items()
            if key not in running and self.submission(key) > self._answered.get(key, 0)
        ]

    def _is_answered(self, key: str) -> bool:
        number, when = self._submissions[key]
        folder = self.sweep.job_folder(self._jobs[key])
        found = process.of(folder)
        if found is not None and found.submission >= number:
            return True
        outcome = self.sweep.outcome(self._jobs[key])
        return outcome is not None and outcome.ended is not Ended.running and outcome.time >= when

    # -- requests to cancel

    @property
    def _cancel_folder(self) -> Path:
        return self.sweep.folder / ".launch" / NAME / "cancel"

    def cancel_requests(self) -> list[str]:
        """Return the keys of the jobs whose end was requested."""
        return [file.name for file in self._cancel_folder.iterdir()] if self._cancel_folder.is_dir() else []

    def request_cancel(self, key: str) -> None:
        """Ask for a job to be ended."""
        self._cancel_folder.mkdir(parents=True, exist_ok=True)
        (self._cancel_folder / key).touch()

    def withdraw_cancel(self, key: str) -> None:
        """Withdraw the request: the job has ended, or is submitted again."""
        (self._cancel_folder / key).unlink(missing_ok=True)


def blocked_by(job: Job, ahead: Container[str], outcomes: Mapping[str, Outcome | None]) -> Blocked:
    """Return what keeps a job from starting: `ahead` are the jobs that wait or run, `outcomes` those of the rest."""
    for key in job.needs:
        outcome = outcomes.get(key)
        if key in ahead:
            return Blocked(f"waits for {key}")
        if outcome is None or outcome.ended is not Ended.ok:
            how = f"{outcome.ended.value}: {outcome.error}" if outcome is not None else "never submitted"
            return Blocked(f"{key}, which it needs, is {how}", never=True)
    return Blocked()
