"""This machine as a place to run a sweep's jobs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from rlpipe.config.launchers import LocalConfig
from rlpipe.config.ranges import out_of_range
from rlpipe.core.errors import LaunchError, Problem
from rlpipe.launchers.base import JobStatus, Launcher, Phase
from rlpipe.launchers.local import process
from rlpipe.launchers.local.pool import BY_HAND, GRACE
from rlpipe.launchers.local.queue import NAME, Queue, blocked_by
from rlpipe.records.lease import holder
from rlpipe.records.sweep import Job, cancelled

PATIENCE = 60.0
"""Seconds that a pool may take to begin its work."""


class LocalLauncher(Launcher):
    """Runs jobs in a pool of its own for each sweep; see `rlpipe.launchers.local`."""

    Config = LocalConfig
    config: LocalConfig
    here: ClassVar[bool] = True

    @property
    def home(self) -> Path:
        """The pool's folder: its lease, its log, and the requests to cancel."""
        return self.sweep.folder / ".launch" / "local"

    @cached_property
    def _gpus(self) -> list[str]:
        return process.gpus()

    @property
    def at_once(self) -> int:
        """Most jobs that run at the same time."""
        return process.at_once(self.config.jobs, self._gpus)

    @property
    def gpus(self) -> int:
        """GPUs of one job."""
        return 1 if self._gpus else 0

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings."""
        return list(out_of_range(self.config, "hydra.launcher."))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs to the pool, which is started where it does not run. Raises LaunchError."""
        queue = Queue(self.sweep)
        for job in jobs:
            queue.withdraw_cancel(job.key)
        self.sweep.submitted(NAME, [job.key for job in jobs])
        if holder(self.home) is None:
            self._start_pool()

    def statuses(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        """Return how jobs stand, by their processes and the pool's."""
        queue = Queue(self.sweep)
        pool = holder(self.home) is not None
        waiting = {job.key: job for job in queue.waiting(())}
        seen: dict[str, JobStatus] = {}
        for job in jobs:
            found = process.of(self.sweep.job_folder(job))
            if not queue.submission(job.key) and found is None:
                continue
            if found is not None and (found.runs or (pool and found.machine != process.heartbeat.machine())):
                gpu = f"GPU {found.gpu}" if found.gpu is not None else None
                seen[job.key] = JobStatus(Phase.running, str(found.pid), place=gpu)
            elif job.key in waiting:
                seen[job.key] = self._waits(job, waiting) if pool else JobStatus(Phase.gone, reason=NO_POOL)
            else:
                seen[job.key] = JobStatus(Phase.gone, reason=process.ending(None))
        return seen

    def _waits(self, job: Job, waiting: Mapping[str, Job]) -> JobStatus:
        outcomes = {other.key: self.sweep.outcome(other) for other in self.sweep.jobs if other.key in job.needs}
        ahead = {key for key, outcome in outcomes.items() if outcome is None or outcome.ended.value == "running"}
        reason = blocked_by(job, ahead | set(waiting), outcomes).reason
        return JobStatus(Phase.queued, reason=reason or "waits for its turn")

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End jobs: those that run are asked to save and stop, and killed when they do not in time."""
        queue = Queue(self.sweep)
        for job in jobs:
            queue.request_cancel(job.key)
        until = time.monotonic() + GRACE + PATIENCE
        while (left := set(queue.cancel_requests()) & {job.key for job in jobs}) and time.monotonic() < until:
            if holder(self.home) is None:
                self._start_pool()  # it finds the jobs of the one that is gone
            time.sleep(0.1)
        if left:
            raise LaunchError(
                ", ".join(sorted(left)),
                f"still there after {GRACE + PATIENCE:.0f} s",
                f"see what the pool says: {self.home / 'pool.log'}",
            )
        for job in jobs:
            if self.sweep.outcome(job) is None:
                cancelled(self.sweep, job, BY_HAND)

    def _start_pool(self) -> None:
        """Start a pool that outlives this process, and wait until it is at work. Raises LaunchError."""
        self.home.mkdir(parents=True, exist_ok=True)
        log = self.home / "pool.log"
        with open(log, "ab") as output:
            pool = subprocess.Popen(
                [sys.executable, "-m", "rlpipe.launchers.local.pool", str(self.sweep.folder)],
                cwd=self.sweep.data["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + PATIENCE
        while pool.poll() is None and holder(self.home) is None and time.monotonic() < until:
            time.sleep(0.02)
        if pool.returncode:
            last_line = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise LaunchError(
                "", f"the pool cannot run ({process.ending(pool.returncode)}): {''.join(last_line)}", f"its log: {log}"
            )


NO_POOL = "the pool that would run it is gone; `resume` starts another"
