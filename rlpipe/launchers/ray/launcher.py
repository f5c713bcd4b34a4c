"""Ray as a place to run a sweep's jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rlpipe.config.launchers import RayConfig
from rlpipe.core.errors import LaunchError, Problem
from rlpipe.launchers.base import JobStatus, Launcher
from rlpipe.launchers.ray import problems
from rlpipe.launchers.ray.cluster import Cluster
from rlpipe.launchers.ray.entrypoint import keep_environment
from rlpipe.launchers.ray.queue import Queue
from rlpipe.launchers.verdict import is_final
from rlpipe.records.sweep import Job, Sweep, cancelled

PATIENCE = 30.0
"""Seconds beyond its grace that a cancelled job may take to end."""


class RayLauncher(Launcher):
    """Runs each job as a Ray Job; see `rlpipe.launchers.ray`."""

    Config = RayConfig
    config: RayConfig

    def __init__(self, sweep: Sweep):
        super().__init__(sweep)
        self.cluster = Cluster(self.config.address)
        self.queue = Queue(sweep, self.config, self.cluster)

    @property
    def at_once(self) -> int | None:
        """Most arms at the same time, None where that is up to the cluster's size."""
        return self.config.throttle

    @property
    def gpus(self) -> int:
        """GPUs of one job."""
        return self.config.gpus

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings, and what the cluster does not have."""
        return problems.problems(self.config, self.cluster, self.sweep.folder)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Note jobs as submitted, and hand Ray those that may begin. Raises LaunchError."""
        self.queue.ask(now=True)  # nothing is noted where there is no cluster
        keep_environment(self.sweep, self.config)
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
        living = self.queue.living(list(jobs))
        for job in jobs:  # a job that Ray starts after this finds that it is not to run
            if job.key not in living or living[job.key][1].status == "PENDING":
                self._cancelled(job)
        for ray_id, _ in living.values():
            self.cluster.stop(ray_id)
        self._await_end([job for job in jobs if job.key in living and living[job.key][1].status == "RUNNING"])
        for job in jobs:
            self._cancelled(job)

    def _await_end(self, running: list[Job]) -> None:
        """Wait until Ray has ended jobs. Raises LaunchError for those that it has not in time."""
        until = time.monotonic() + self.config.grace + PATIENCE
        while left := [ray_id for ray_id, seen in self.queue.living(running).values() if seen.status == "RUNNING"]:
            if time.monotonic() > until:
                what = f"Ray has not ended them within {self.config.grace + PATIENCE:g} s"
                raise LaunchError(", ".join(left), what, f"see what it says: ray job status {left[0]}")
            time.sleep(0.5)
            self.queue.ask(now=True)

    def _cancelled(self, job: Job) -> None:
        if not is_final(self.sweep, job, self.sweep.outcome(job)):
            cancelled(self.sweep, job, "cancelled by hand")
