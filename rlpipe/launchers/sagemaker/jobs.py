"""Training jobs: listing, starting and stopping them, and the lines of their logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlpipe.launchers.base import Phase
from rlpipe.launchers.sagemaker.cloud import AT, Cloud, RefusedByAWS

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


@dataclass(frozen=True)
class Read:
    """How far a stream of a log is read. Its own tokens say so for a day only."""

    time: int
    """Of the last event that is read, in milliseconds."""
    events: int
    """How many of that time are read."""

    def then(self, time: int) -> Read:
        """Return how far it is read with one event more."""
        return Read(time, self.events + 1 if time == self.time else 1)


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
        except RefusedByAWS as error:
            if error.code == "ResourceInUse":
                return False
            raise
        return True

    def stop(self, name: str) -> None:
        """Have a job asked to stop, and killed after 120 seconds. Raises LaunchError."""
        try:
            with self.cloud.answers():
                self.cloud.client("sagemaker").stop_training_job(TrainingJobName=name)
        except RefusedByAWS as error:
            if error.code != "ValidationException":  # that is how it says that the job has ended meanwhile
                raise

    def lines(self, name: str, read: Mapping[str, Read]) -> Iterator[tuple[str, str, Read]]:
        """Yield what a job has printed since: the stream, the text of a page of it, and how far that is read then.

        `read` says how far streams were read before. Raises LaunchError.
        """
        for stream in self._streams(name):
            far = read.get(stream, Read(0, 0))
            left_out, page = far.events, self._page(stream, far.time)
            while page["events"]:
                fresh = page["events"][left_out:]
                left_out = max(0, left_out - len(page["events"]))
                for event in fresh:
                    far = far.then(event["timestamp"])
                if fresh:
                    yield stream, "".join(f"{event['message']}\n" for event in fresh), far
                page = self._page(stream, None, page["nextForwardToken"])

    def _streams(self, name: str) -> list[str]:
        pages = self.cloud.client("logs").get_paginator("describe_log_streams")
        try:
            with self.cloud.answers():
                found = pages.paginate(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")
                return [one["logStreamName"] for page in found for one in page["logStreams"]]
        except RefusedByAWS as error:
            if error.code == "ResourceNotFoundException":  # nothing has ever been printed in this account
                return []
            raise

    def _page(self, stream: str, since: int | None, token: str | None = None) -> dict[str, Any]:
        """Return a page of a stream's events: the next one, or the first since a time in milliseconds."""
        where: dict[str, Any] = {"nextToken": token} if token else {"startTime": since}
        with self.cloud.answers():
            page: dict[str, Any] = self.cloud.client("logs").get_log_events(
                logGroupName=GROUP, logStreamName=stream, startFromHead=True, **where
            )
        return page
