"""The process that runs a sweep's jobs on this machine, so many at a time.

    python -m rlpipe.launchers.local.pool SWEEP

It reads what was submitted from the sweep's folder, forks jobs whose stages are there from a process that has imported
what they need, each into a session of its own, and ends when nothing is left to do. Whoever submitted may be gone; when
the pool itself is killed its jobs go on, and the next pool finds them. One pool at a time works on a sweep.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rlpipe.config.launchers import LocalConfig
from rlpipe.launchers.local import process
from rlpipe.launchers.local.process import Process
from rlpipe.launchers.local.queue import Queue, blocked_by
from rlpipe.launchers.warm import IMPORTS, LIGHT, Child, Warm
from rlpipe.records.lease import Taken, acquire
from rlpipe.records.sweep import DONE_WELL, Ended, Job, Sweep, cancelled, lost

TICK = 0.1
"""Seconds between two looks at the jobs."""
BY_HAND = "cancelled by hand"
GRACE = 30.0
"""Seconds in which a cancelled job may save before it is killed."""
LAST_WORDS = 5.0
"""Seconds that the exit code of a job that has just ended may take to come."""


@dataclass
class Running:
    """A job that runs."""

    job: Job
    process: Process
    child: Child | None
    """None for one that an earlier pool has started."""
    cancelled: float | None = None
    """When it was asked to end."""


class Pool:
    """Runs the jobs of one sweep."""

    def __init__(self, folder: Path):
        self.queue = Queue(Sweep.load(folder))
        config = LocalConfig.of(self.sweep.data["settings"])
        self.gpus = process.gpus()
        self.limit = process.at_once(config.jobs, self.gpus)
        self.running: dict[str, Running] = {}
        self.warm = Warm(IMPORTS if self.sweep.is_ours else LIGHT)

    @property
    def sweep(self) -> Sweep:
        """The sweep, as its folder says now."""
        return self.queue.sweep

    def work(self) -> None:
        """Run jobs until none is left."""
        self._adopt()
        try:
            self._work()
        finally:
            self.warm.close()

    def _work(self) -> None:
        while True:
            self.queue.refresh()
            self._collect()
            self._cancel()
            waiting = self.queue.waiting(self.running)
            if not waiting and not self.running:
                return
            self._start(waiting)
            time.sleep(TICK)

    def _adopt(self) -> None:
        """Find the jobs that a pool before this one has started and that still run."""
        for job in self.sweep.jobs:
            found = process.of(self.sweep.job_folder(job))
            if found is not None and found.runs:
                self.running[job.key] = Running(job, found, None)

    def _collect(self) -> None:
        """Take note of jobs that have ended; for those that could not say how, say it."""
        for key, one in list(self.running.items()):
            patience = 0.0 if one.process.runs else LAST_WORDS
            code = one.child.wait(patience) if one.child is not None else None
            if code is None and one.process.runs:
                continue
            del self.running[key]
            outcome = self.sweep.outcome(one.job)
            if outcome is not None and outcome.pid == one.process.pid and outcome.ended in DONE_WELL:
                pass
            elif one.cancelled is not None:
                cancelled(self.sweep, one.job, BY_HAND)
            elif outcome is None or outcome.ended is Ended.running or outcome.pid != one.process.pid:
                lost(self.sweep, one.job, process.ending(code), code)
            self.queue.withdraw_cancel(key)

    def _cancel(self) -> None:
        """End the jobs that somebody wants cancelled: first asked, then killed."""
        for key in self.queue.cancel_requests():
            one = self.running.get(key)
            if one is None:
                self._cancelled(self.queue.job(key), BY_HAND)
                self.queue.withdraw_cancel(key)
            elif one.cancelled is None:
                one.cancelled = time.monotonic()
                one.process.signal(signal.SIGTERM)
            elif time.monotonic() - one.cancelled > GRACE:
                one.process.signal(signal.SIGKILL)

    def _start(self, waiting: list[Job]) -> None:
        """Start the jobs that can, and cancel those that never will."""
        ahead = {job.key for job in waiting} | set(self.running)
        needed = {key for job in waiting for key in job.needs}
        outcomes = {job.key: self.sweep.outcome(job) for job in self.sweep.jobs if job.key in needed - ahead}
        for job in waiting:
            found = blocked_by(job, ahead, outcomes)
            if found.never:
                self._cancelled(job, found.reason)
            if found.reason or len(self.running) >= self.limit:
                continue
            self._begin(job)

    def _begin(self, job: Job) -> None:
        """Start a job, once what it is forked from is ready."""
        gpu = process.least_used(self.gpus, (one.process.gpu for one in self.running.values()))
        folder, cwd = self.sweep.job_folder(job), Path(self.sweep.data["cwd"])
        try:
            if not self.warm.ready():
                return
            self.queue.answered(job.key)
            child, started = process.start(folder, cwd, gpu, self.queue.submission(job.key), self.warm)
        except OSError as error:
            self.queue.answered(job.key)
            lost(self.sweep, job, f"cannot be started: {error}")
            return
        self.running[job.key] = Running(job, started, child)

    def _cancelled(self, job: Job, reason: str) -> None:
        self.queue.answered(job.key)
        cancelled(self.sweep, job, reason)


def main(arguments: list[str]) -> int:
    """Run the jobs of a sweep until none is left."""
    folder = Path(arguments[0])
    home = folder / ".launch" / "local"
    home.mkdir(parents=True, exist_ok=True)
    while True:
        pool = Pool(folder)  # what is wrong with the sweep shows before anybody relies on this pool
        try:
            lease = acquire(home, "running the sweep's jobs", patient=False)
        except Taken:
            return 0  # another pool is at it and finds whatever was submitted
        try:
            pool.work()
        finally:
            lease.release()
        # submitted between the last look and letting go, when the submitter still saw this pool at work
        pool.queue.refresh()
        if not pool.queue.waiting({}):
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
