"""The sweep's training jobs: their names, what they are given, which go on, and how they ended (`launchers.queue`)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from rlpipe.config.launchers import SageMakerConfig
from rlpipe.launchers.base import Phase
from rlpipe.launchers.queue import Newest, Queue
from rlpipe.launchers.sagemaker.bucket import Bucket
from rlpipe.launchers.sagemaker.cargo import CHANNEL, MOUNT, cargo
from rlpipe.launchers.sagemaker.home import Home
from rlpipe.launchers.sagemaker.jobs import Jobs, TrainingJob
from rlpipe.launchers.units import seconds
from rlpipe.launchers.verdict import Ending, job_ids
from rlpipe.records.sweep import NOTHING_SAVED, STOPPED, Ended, Job, Sweep

OUT_OF_TIME = ("MaxRuntimeExceeded", "MaxWaitTimeExceeded")
"""How SageMaker calls the end of a job at its time limit, and of one that waited too long for spare capacity."""
SHORT = ("CapacityError", "InternalServerError")
"""How reasons begin for which a job failed that are SageMaker's own: it is handed over again."""
LONGEST = 28 * 24 * 3600
"""Seconds that a training job may take at most."""


class SageMakerQueue(Queue[TrainingJob]):
    """The submitted jobs of one sweep."""

    name = "sagemaker"
    title = "SageMaker"
    numbering = "-r"
    forgotten = "SageMaker does not know it: is hydra.launcher.region, and the account, the one that it was begun in?"

    def __init__(
        self,
        sweep: Sweep,
        config: SageMakerConfig,
        jobs: Jobs,
        bucket: Bucket,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(sweep, config.poll, config.requeues, config.throttle, clock)
        self.config, self.jobs, self.bucket = config, jobs, bucket
        self.home = Home(sweep, bucket, jobs, self.prefix.strip("-"))

    @property
    def prefix(self) -> str:
        """What the names of the sweep's jobs begin with: no other sweep's do. Names have 63 characters at most."""
        return f"{'-'.join(filter(None, ['rlpipe', _words(self.sweep.folder.name)[:20], self.identity]))}-"

    def submission_id(self, key: str, number: int) -> str:
        """Return the name of a job's submission; of a stage's key the end counts, which is its fingerprint."""
        return f"{self.prefix}{_words(key[-14:])}-{number}"

    def is_all_known(self) -> bool:
        """Whether nothing is left to learn, and to fetch."""
        return super().is_all_known() and all(self.home.fetched(job).is_all for job, _ in self.submitted())

    def seen(self) -> dict[str, TrainingJob]:
        """Return the sweep's training jobs. Raises NoAnswer and Refused."""
        return self.jobs.named(self.prefix)

    def hand_over(self, job: Job, place_id: str) -> TrainingJob:
        """Put what a job needs into the bucket, and start it."""
        self.jobs.start(self.request(job, place_id))
        return TrainingJob("InProgress", "Starting")

    def request(self, job: Job, name: str) -> dict[str, Any]:
        """Return a job in the words of CreateTrainingJob."""
        base = re.sub(rf"{self.numbering}\d+$", "", name)
        given = cargo(self.sweep, self.config, job, base, self.bucket)
        source = {
            "S3DataType": "ManifestFile",
            "S3Uri": self.bucket.manifest(given.contents, "jobs", f"{name}.manifest"),
            "S3DataDistributionType": "FullyReplicated",
        }
        config = self.config
        said: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": config.role,
            "AlgorithmSpecification": {
                "TrainingImage": config.image,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": given.command,
                "ContainerArguments": given.arguments,
            },
            "InputDataConfig": [{"ChannelName": CHANNEL, "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": self.bucket.address("output")},
            "ResourceConfig": {
                "InstanceType": config.instance,
                "InstanceCount": 1,
                "VolumeSizeInGB": config.volume,
            },
            "StoppingCondition": _times(config),
            "EnableManagedSpotTraining": config.spot,
            "CheckpointConfig": {
                "S3Uri": self.bucket.address(*self.home.parts(job)),
                "LocalPath": f"{MOUNT}/checkpoints",
            },
            "Tags": [{"Key": "rlpipe", "Value": self.prefix.strip("-")}],
        }
        return _over(said, config.extra)

    def bring_home(self, job: Job, newest: Newest[TrainingJob]) -> None:
        """Fetch what a job has left that has begun."""
        if newest.job.phase is not Phase.queued:
            self.home.bring(job, self._name(job, newest), newest.job.phase is Phase.gone)

    def is_home(self, job: Job, newest: Newest[TrainingJob]) -> bool:
        """Whether all is here that a job which has ended has left."""
        fetched = self.home.fetched(job)
        return fetched.whole and fetched.name == self._name(job, newest)

    def _name(self, job: Job, newest: Newest[TrainingJob]) -> str:
        return self.numbered(job_ids(self.sweep)[job.key], newest.number)

    def goes_on(self, job: Job, newest: Newest[TrainingJob]) -> bool:
        """Whether a job is handed over again: at its time limit with something saved, or for want of capacity."""
        seen = newest.job
        if newest.number >= self.requeues or self.is_over(job):
            return False
        if seen.status == "Failed":
            return seen.words.startswith(SHORT)
        return seen.status == "Stopped" and seen.stage in OUT_OF_TIME and not self._in_vain(job, seen)

    def ending(self, job: Job, seen: TrainingJob) -> Ending:
        """Return how SageMaker saw a job end."""
        if seen.stage == OUT_OF_TIME[0] and self._in_vain(job, seen):
            fix = "a longer hydra.launcher.time, or checkpoints more often"
            return Ending(f"the time limit came {NOTHING_SAVED}; it needs {fix}", saved=False)
        if seen.stage in OUT_OF_TIME:
            return Ending(f"{seen.stage}, {self.requeues} times again (hydra.launcher.requeues)")
        if seen.status == "Stopped":
            return Ending("stopped", "stopped in SageMaker", saved=False)
        said = [seen.words or seen.stage or seen.status, *self._last_words(job)]
        return Ending("; ".join(said), saved=re.search(rf"exit code: {STOPPED}\b", seen.words) is not None)

    def _in_vain(self, job: Job, seen: TrainingJob) -> bool:
        """Whether a job spent its whole time limit on nothing that it could keep."""
        outcome = self.sweep.outcome(job)
        stopped = outcome is not None and outcome.ended is Ended.stopped
        nothing = stopped and NOTHING_SAVED in ((outcome and outcome.error) or "")
        return nothing and seen.stage == OUT_OF_TIME[0]

    def _last_words(self, job: Job) -> list[str]:
        log = self.sweep.job_folder(job) / "log.txt"
        text = log.read_text(errors="replace") if log.exists() else ""
        return text.strip().splitlines()[-1:]


def _times(config: SageMakerConfig) -> dict[str, int]:
    limit = seconds(config.time) or LONGEST
    spot = {"MaxWaitTimeInSeconds": limit + (seconds(config.spot_wait) or LONGEST)} if config.spot else {}
    return {"MaxRuntimeInSeconds": limit, **spot}


def _over(said: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request with further keys, which go before; a mapping is added to, key by key."""
    for key, value in extra.items():
        inner = said.get(key)
        said[key] = _over(dict(inner), value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return said


def _words(text: str) -> str:
    """Return a name as SageMaker takes it: letters, digits and single hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
