"""The sweep's Ray Jobs: their ids, which go on, and how they ended (`rlpipe.launchers.queue`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from rlpipe.config.launchers import RayConfig
from rlpipe.launchers.base import Refused
from rlpipe.launchers.queue import Newest, Queue, words
from rlpipe.launchers.ray.cluster import Cluster, RayJob
from rlpipe.launchers.ray.entrypoint import submission
from rlpipe.launchers.verdict import Ending
from rlpipe.records.sweep import STOPPED, Job, Sweep

GAVE_UP = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
"""Ray fails a job that has waited for resources for 15 minutes: it is handed over anew."""
DIED = "JOB_SUPERVISOR_ACTOR_DIED"
"""What started the job is gone, with its node or without."""


class RayQueue(Queue[RayJob]):
    """The submitted jobs of one sweep."""

    name = "ray"
    title = "Ray"
    lag = 3.0
    numbering = "."
    forgotten = "Ray does not know it any more: was its head started anew?"

    def __init__(self, sweep: Sweep, config: RayConfig, cluster: Cluster, clock: Callable[[], float] = time.monotonic):
        super().__init__(sweep, config.poll, config.requeues, config.throttle, clock)
        self.config = config
        self.cluster = cluster

    @property
    def prefix(self) -> str:
        """What the ids of the sweep's jobs begin with: no other sweep's do."""
        return f"rlpipe-{words(self.sweep.folder.name)[:40]}-{self.identity}-"

    def submission_id(self, key: str, number: int) -> str:
        """Return the id of a job's submission."""
        return f"{self.prefix}{words(key)}-{number}"

    def seen(self) -> dict[str, RayJob]:
        """Return the sweep's Ray Jobs. Raises NoAnswer and Refused."""
        return self.cluster.jobs(self.prefix)

    def hand_over(self, job: Job, place_id: str) -> RayJob:
        """Hand Ray a job."""
        self.cluster.submit(place_id, **submission(self.sweep, self.config, job, place_id))
        return RayJob("PENDING")

    def goes_on(self, job: Job, newest: Newest[RayJob]) -> bool:
        """Whether a job that Ray has failed is handed over again: it did not begin in time, or its node was lost."""
        if newest.job.status != "FAILED":
            return False
        return newest.job.error == GAVE_UP or (newest.job.error == DIED and newest.number < self.requeues)

    def next_id(self, job_id: str, newest: Newest[RayJob] | None) -> str:
        """Return the id of the next Ray Job of a submission; one that never began is used again."""
        if newest is None or newest.job.error != GAVE_UP:
            return super().next_id(job_id, newest)
        same = self.numbered(job_id, newest.number)
        with suppress(Refused):  # where another process has just handed it over
            self.cluster.forget(same)
        return same

    def ending(self, job: Job, seen: RayJob) -> Ending:
        """Return how Ray saw a job end."""
        if seen.status == "STOPPED":
            return Ending("stopped", "ray job stop", saved=False)
        if seen.exit_code is None:
            return Ending(f"{seen.error or seen.status}: {_first_line(seen.message)}", saved=False)
        said = [f"exit {seen.exit_code}", *self._last_words(job, seen)]
        return Ending("; ".join(said), saved=seen.exit_code == STOPPED)

    def _last_words(self, job: Job, seen: RayJob) -> list[str]:
        """Return the last line that a job has printed, into its log or, before that was open, into Ray's own."""
        log = self.sweep.job_folder(job) / "log.txt"
        text = log.read_text(errors="replace") if log.exists() else ""
        return (text.strip() or seen.message.strip()).splitlines()[-1:]


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word of why"])[0]
