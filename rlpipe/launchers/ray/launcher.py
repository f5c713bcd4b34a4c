"""Ray as a place to run a sweep's jobs."""

from __future__ import annotations

from rlpipe.config.launchers import RayConfig
from rlpipe.core.errors import Problem
from rlpipe.launchers import environment
from rlpipe.launchers.ray import problems
from rlpipe.launchers.ray.cluster import Cluster
from rlpipe.launchers.ray.queue import RayQueue
from rlpipe.launchers.remote import RemoteLauncher
from rlpipe.records.sweep import Sweep

PATIENCE = 30.0
"""Seconds beyond its grace that a cancelled job may take to end."""


class RayLauncher(RemoteLauncher):
    """Runs each job as a Ray Job; see `rlpipe.launchers.ray`."""

    Config = RayConfig
    config: RayConfig

    def __init__(self, sweep: Sweep):
        super().__init__(sweep)
        self.cluster = Cluster(self.config.address)
        self.queue = RayQueue(sweep, self.config, self.cluster)

    @property
    def at_once(self) -> int | None:
        """Most arms at the same time, None where that is up to the cluster's size."""
        return self.config.throttle

    @property
    def gpus(self) -> int:
        """GPUs of one job."""
        return self.config.gpus

    @property
    def patience(self) -> float:
        """Seconds that a cancelled job may take to end, from when it is asked."""
        return self.config.grace + PATIENCE

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings, and what the cluster does not have."""
        return problems.problems(self.config, self.cluster, self.sweep.folder)

    def prepare(self) -> None:
        """Write down what jobs get of this process's environment."""
        environment.keep(self.sweep, self.queue.name, self.config.environment)

    def stop(self, place_id: str) -> None:
        """Have Ray stop a job, at once. Raises LaunchError."""
        self.cluster.stop(place_id)

    def see(self, place_id: str) -> str:
        """Return what to type to see what Ray says of a job."""
        return f"ray job status {place_id}"
