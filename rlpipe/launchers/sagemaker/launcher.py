"""SageMaker as a place to run a sweep's jobs."""

from __future__ import annotations

from rlpipe.config.launchers import SageMakerConfig
from rlpipe.core.errors import Problem
from rlpipe.launchers import environment
from rlpipe.launchers.base import Hourly
from rlpipe.launchers.remote import RemoteLauncher
from rlpipe.launchers.sagemaker import prices, problems
from rlpipe.launchers.sagemaker.bucket import Bucket
from rlpipe.launchers.sagemaker.cloud import Cloud
from rlpipe.launchers.sagemaker.jobs import Jobs
from rlpipe.launchers.sagemaker.queue import SageMakerQueue
from rlpipe.launchers.sagemaker.task import GRACE
from rlpipe.records.sweep import Sweep

PATIENCE = 600.0
"""Seconds beyond its grace that a cancelled job may take to end: SageMaker uploads what is left."""


class SageMakerLauncher(RemoteLauncher):
    """Runs each job as a training job; see `rlpipe.launchers.sagemaker`."""

    Config = SageMakerConfig
    config: SageMakerConfig

    def __init__(self, sweep: Sweep):
        super().__init__(sweep)
        self.cloud = Cloud(self.config.region)
        self.jobs = Jobs(self.cloud)
        self.bucket = Bucket(self.cloud, self.config)
        self.queue = SageMakerQueue(sweep, self.config, self.jobs, self.bucket)
        self.pause = min(self.config.poll, 5.0)

    @property
    def at_once(self) -> int | None:
        """Most arms at the same time, None where that is up to the account's quota."""
        return self.config.throttle

    @property
    def gpus(self) -> int:
        """GPUs of one job."""
        return self.config.gpus

    @property
    def patience(self) -> float:
        """Seconds that a cancelled job may take to end, from when it is asked."""
        return GRACE + PATIENCE

    def hourly(self) -> Hourly:
        """What an hour of one job costs."""
        return prices.hourly(self.config, self.cloud)

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings, and what the account does not have."""
        return problems.problems(self.config, self.cloud, self.bucket, self.sweep)

    def prepare(self) -> None:
        """Write down what jobs get of this process's environment."""
        environment.keep(self.sweep, self.queue.name, self.config.environment)

    def stop(self, place_id: str) -> None:
        """Have SageMaker stop a job, at once. Raises LaunchError."""
        self.jobs.stop(place_id)

    def see(self, place_id: str) -> str:
        """Return what to type to see what SageMaker says of a job."""
        return f"aws sagemaker describe-training-job --training-job-name {place_id}"
