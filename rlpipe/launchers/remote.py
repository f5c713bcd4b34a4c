"""What launchers have in common whose place knows no dependencies, so that a queue of ours hands jobs over."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import JobStatus, Launcher, Phase
from rlpipe.launchers.queue import Queue
from rlpipe.records.sweep import Job, cancelled


class RemoteLauncher(Launcher):
    """Runs jobs where `queue` hands them over; see `rlpipe.launchers.queue`."""

    queue: Queue[Any]
    pause: float = 0.5
    """Seconds between two looks at jobs that were asked to end."""

    @property
    @abstractmethod
    def patience(self) -> float:
        """Seconds that a cancelled job may take to end, from when it is asked."""

    @abstractmethod
    def prepare(self) -> None:
        """Write down what jobs need of this process, whoever hands them over. Raises LaunchError."""

    @abstractmethod
    def stop(self, place_id: str) -> None:
        """Have the place ask a job to stop, and kill it where it does not in time; at once. Raises LaunchError."""

    @abstractmethod
    def see(self, place_id: str) -> str:
        """Return what to type to see what the place says of a job."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Note jobs as submitted, and hand over those that may begin. Raises LaunchError."""
        self.queue.ask(now=True)  # nothing is noted where nobody answers
        self.prepare()
        self.queue.note(list(jobs))
        self.queue.ask(now=True)

    def statuses(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        """Return how jobs stand; what they could not say is written down, and what may begin is handed over."""
        self.queue.ask()
        seen = self.queue.statuses()
        return {job.key: seen[job.key] for job in jobs if job.key in seen}

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End jobs: those that run are asked to save and stop, and killed when they do not in time."""
        self.queue.ask(now=True)
        self.queue.by_hand = {job.key for job in jobs}
        living = self.queue.living(list(jobs))
        for job in jobs:  # a job that begins after this finds that it is not to run
            if job.key not in living or living[job.key][1].phase is Phase.queued:
                self._cancelled(job)
        for place_id, _ in living.values():
            self.stop(place_id)
        self._await_end([job for job in jobs if job.key in living and living[job.key][1].phase is Phase.running])
        for job in jobs:
            self._cancelled(job)
        stopped = {place_id for place_id, _ in living.values()}
        self.queue.ask(now=True)
        for place_id, _ in self.queue.living(list(jobs)).values():
            if place_id not in stopped:  # handed over by who did not know yet
                self.stop(place_id)
        self.queue.by_hand = set()

    def _await_end(self, running: list[Job]) -> None:
        """Wait until jobs have ended. Raises LaunchError for those that have not in time."""
        until = time.monotonic() + self.patience
        while left := [one for one, seen in self.queue.living(running).values() if seen.phase is Phase.running]:
            if time.monotonic() > until:
                what = f"{self.queue.title} has not ended them within {self.patience:g} s"
                raise LaunchError(", ".join(left), what, f"see what it says: {self.see(left[0])}")
            time.sleep(self.pause)
            self.queue.ask(now=True)

    def _cancelled(self, job: Job) -> None:
        if not self.queue.is_over(job):
            cancelled(self.sweep, job, "cancelled by hand")
