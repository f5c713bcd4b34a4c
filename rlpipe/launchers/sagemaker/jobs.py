"""Training jobs: listing, starting and stopping them, and the lines of their logs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlpipe.launchers.base import Phase, Refused
from rlpipe.launchers.sagemaker.cloud import AT, Cloud

GROUP = "/aws/sagemaker/TrainingJobs"
"""Where CloudWatch keeps what training jobs print."""
_ENDED = ("Completed", "Failed", "Stopped")
_BUSY = ("Training", "Uploading", "Stopping")
"""Stages of a job at which its work runs, or ends."""


@dataclass(frozen=True)
class TrainingJob:
    """One training job as SageMaker shows it."""

    status: str
    """InProgress, Stopping, Completed, Failed or Stopped."""
    stage: str = ""
    """What it is at (`Downloading`, `Interrupted`), or how it ended (`MaxRuntimeExceeded`)."""
    words: str = ""
    """What SageMaker says of that, or why it failed."""
    place: str = ""
    """The kind of its instance."""

    @property
    def phase(self) -> Phase:
        """Whether it waits, runs or has ended."""
        if self.status in _ENDED:
            return Phase.gone
        return Phase.running if self.status == "Stopping" or self.stage in _BUSY else Phase.queued

    @property
    def waits_for(self) -> str:
        """Why it waits."""
        return ": ".join(part for part in (self.stage or "Starting", self.words) if part)


class Jobs:
    """The training jobs of an account."""

    def __init__(self, cloud: Cloud):
        self.cloud = cloud
        self._ended: dict[str, TrainingJob] = {}

    def named(self, prefix: str) -> dict[str, TrainingJob]:
        """Return the jobs whose names begin so, by name. Raises NoAnswer and Refused."""
        found = {}
        with self.cloud.answers():
            pages = self.cloud.client("sagemaker").get_paginator("list_training_jobs").paginate(NameContains=prefix)
            names = [one["TrainingJobName"] for page in pages for one in page["TrainingJobSummaries"]]
            for name in names:
                if name.startswith(prefix):
                    found[name] = self._ended.get(name) or self._described(name)
        self._ended |= {name: one for name, one in found.items() if one.phase is Phase.gone}
        return found

    def _described(self, name: str) -> TrainingJob:
        row = self.cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
        latest = (row.get("SecondaryStatusTransitions") or [{}])[-1]
        return TrainingJob(
            row["TrainingJobStatus"],
            row.get("SecondaryStatus", ""),
            (row.get("FailureReason") or latest.get("StatusMessage") or "").strip(),
            row.get("ResourceConfig", {}).get("InstanceType", ""),
        )

    def start(self, request: dict[str, Any]) -> bool:
        """Start a job, in the words of CreateTrainingJob; False where there is one of this name. Raises LaunchError."""
        try:
            with self.cloud.answers(AT):
                self.cloud.client("sagemaker").create_training_job(**request)
        except Refused as error:
            if "ResourceInUse" in error.what:
                return False
            raise
        return True

    def stop(self, name: str) -> None:
        """Have a job asked to stop, and killed after 120 seconds. Raises LaunchError."""
        try:
            with self.cloud.answers():
                self.cloud.client("sagemaker").stop_training_job(TrainingJobName=name)
        except Refused as error:
            if "ValidationException" not in error.what:  # that is how it says that the job has ended meanwhile
                raise

    def lines(self, name: str, tokens: dict[str, str]) -> Iterator[tuple[str, str, str]]:
        """Yield what a job has printed since: the stream, the text of a page of it, and the token to go on from.

        `tokens` are those that were yielded last, by stream. Raises LaunchError.
        """
        logs = self.cloud.client("logs")
        try:
            with self.cloud.answers():
                pages = logs.get_paginator("describe_log_streams").paginate(
                    logGroupName=GROUP, logStreamNamePrefix=f"{name}/"
                )
                streams = [one["logStreamName"] for page in pages for one in page["logStreams"]]
        except Refused as error:
            if "ResourceNotFoundException" in error.what:  # nothing has ever been printed in this account
                return
            raise
        for stream in streams:
            token = tokens.get(stream)
            while True:
                with self.cloud.answers():
                    more = {"nextToken": token} if token else {}
                    page = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, **more)
                text = "".join(f"{event['message']}\n" for event in page["events"])
                if text:
                    yield stream, text, page["nextForwardToken"]
                if page["nextForwardToken"] == token or not page["events"]:
                    break
                token = page["nextForwardToken"]
