"""Which submitted jobs Ray has, may have now, or has lost.

A submission is noted in the sweep's folder first, with the job's id; Ray gets it when what it needs is done. The id of
a job that is queued again after its time limit, or after its node was lost, is the submission's with a number: `ID.1`.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from rlpipe.config.launchers import RayConfig
from rlpipe.launchers.base import JobStatus, Phase
from rlpipe.launchers.ray.cluster import Cluster, NoAnswer, RayJob, Refused
from rlpipe.launchers.ray.entrypoint import submission
from rlpipe.launchers.verdict import Ending, in_vain, is_final, job_ids, settle
from rlpipe.records.sweep import DONE_WELL, STOPPED, Ended, Job, Kind, Sweep, cancelled

LAG = 3.0
"""Seconds that a job's last words may take through a shared file system."""
SILENCE = 60.0
"""Seconds without an answer after which a cluster may be gone, and is said to be silent."""

GAVE_UP = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
"""Ray fails a job that has waited for resources for 15 minutes: it is handed over anew."""
DIED = "JOB_SUPERVISOR_ACTOR_DIED"
"""What started the job is gone, with its node or without."""
FORGOTTEN = "Ray does not know it any more: was its head started anew?"


@dataclass(frozen=True)
class Newest:
    """The newest of the Ray Jobs of a submission."""

    number: int
    job: RayJob


class Queue:
    """The submitted jobs of one sweep."""

    def __init__(self, sweep: Sweep, config: RayConfig, cluster: Cluster, clock: Callable[[], float] = time.monotonic):
        self.sweep = sweep
        self.config = config
        self.cluster = cluster
        self._clock = clock
        self._answered = float("-inf")
        self._asked = float("-inf")
        self._known: dict[str, RayJob] = {}
        self._gone: dict[str, float] = {}
        """Since when a job that had begun is not living."""

    @property
    def prefix(self) -> str:
        """What the ids of the sweep's jobs begin with: no other sweep's do."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", self.sweep.folder.name)[:40]
        what = f"{self.sweep.folder} {self.sweep.data.get('created')}"
        return f"rlpipe-{name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}-"

    def note(self, jobs: list[Job]) -> None:
        """Write down that jobs are submitted, which makes them the queue's to hand over."""
        rows = self.sweep.submissions
        number = {job.key: 1 + sum(job.key in row["keys"] for row in rows) for job in jobs}
        ids = {key: f"{self.prefix}{re.sub(r'[^A-Za-z0-9_-]+', '-', key)}-{one}" for key, one in number.items()}
        self.sweep.submitted("ray", list(ids), job_ids=ids)

    def ask(self, now: bool = False) -> None:
        """Ask Ray, write down what jobs that are gone could not say themselves, and hand over what may begin.

        Asked more often than `poll` allows it does nothing, unless `now`. Without an answer, what was seen last
        stands. Raises LaunchError when there has never been one.
        """
        if not now and self._clock() - self._asked < self.config.poll:
            return
        self._asked = self._clock()
        try:
            self._known = self.cluster.jobs(self.prefix)
        except NoAnswer:
            if now or self._answered == float("-inf"):
                raise
            return
        self._answered = self._clock()
        self._settle()
        self._hand_over()

    def statuses(self) -> dict[str, JobStatus]:
        """Return how every submitted job stands, as of the last answer."""
        silent = self._clock() - self._answered
        words = f"Ray has not answered for {silent:.0f} s" if silent > max(SILENCE, 2 * self.config.poll) else None
        return {job.key: self._status(job, job_id, words) for job, job_id in self._submitted()}

    def living(self, jobs: list[Job]) -> dict[str, tuple[str, RayJob]]:
        """Return the Ray Jobs of jobs that wait or run, with their ids, by key."""
        keys = {job.key for job in jobs}
        found = {job.key: (job_id, self._newest(job_id)) for job, job_id in self._submitted() if job.key in keys}
        return {
            key: (_numbered(job_id, newest.number), newest.job)
            for key, (job_id, newest) in found.items()
            if newest is not None and newest.job.living
        }

    def again(self, job: Job) -> str:
        """Queue a job again whose attempt has saved, and return what was done, in words."""
        job_id = job_ids(self.sweep)[job.key]
        try:
            self._known = self.cluster.jobs(self.prefix)
            newest = self._newest(job_id)
            number = newest.number + 1 if newest is not None else 1
            if number > self.config.requeues:
                return f"not queued again: that was done {number - 1} times already (hydra.launcher.requeues)"
            self._submit(job, _numbered(job_id, number))
        except (NoAnswer, Refused) as error:
            return f"not queued again: {error.headline}"
        return "queued again"

    def _submitted(self) -> list[tuple[Job, str]]:
        ids = job_ids(self.sweep)
        return [(job, ids[job.key]) for job in self.sweep.jobs if job.key in ids]

    def _newest(self, job_id: str) -> Newest | None:
        numbered = {
            int(rest[1:] or 0): one
            for known, one in self._known.items()
            if known.startswith(job_id) and re.fullmatch(r"|\.\d+", rest := known[len(job_id) :])
        }
        return Newest(max(numbered), numbered[max(numbered)]) if numbered else None

    def _final(self, job: Job) -> bool:
        return is_final(self.sweep, job, self.sweep.outcome(job))

    def _began(self, job: Job, job_id: str) -> bool:
        outcome = self.sweep.outcome(job)
        return outcome is not None and outcome.job_id == job_id

    def _status(self, job: Job, job_id: str, silent: str | None) -> JobStatus:
        newest = self._newest(job_id)
        if self._final(job):
            return JobStatus(Phase.gone, job_id)
        if newest is None:
            if self._began(job, job_id):
                return JobStatus(Phase.gone, job_id, FORGOTTEN)
            if asleep := self._asleep(job):
                return JobStatus(Phase.queued, job_id, f"waits for {asleep}, which has stopped", hopeless=True)
            return JobStatus(Phase.queued, job_id, silent or self._blocked(job)[0] or "waits for its turn")
        if newest.job.status == "PENDING":
            return JobStatus(Phase.queued, job_id, silent or "waits for resources of the cluster")
        if newest.job.status == "RUNNING":
            return JobStatus(Phase.running, job_id, silent, place=newest.job.place or None)
        if self._goes_on(newest):
            return JobStatus(Phase.queued, job_id, silent or "is handed over anew")
        return JobStatus(Phase.gone, job_id, self._ending(job, newest.job).reason, place=newest.job.place or None)

    def _goes_on(self, newest: Newest) -> bool:
        """Whether a job that Ray has failed is handed over again: it did not begin in time, or its node was lost."""
        if newest.job.status != "FAILED":
            return False
        return newest.job.error == GAVE_UP or (newest.job.error == DIED and newest.number < self.config.requeues)

    def _settle(self) -> None:
        """Write down how jobs that are gone ended, where they could not say it themselves."""
        gone: dict[str, float] = {}
        for job, job_id in self._submitted():  # stages come before what needs them
            newest = self._newest(job_id)
            if self._final(job) or (newest is None and not self._began(job, job_id)):
                continue
            if newest is not None and (newest.job.living or self._goes_on(newest)):
                continue
            gone[job_id] = self._gone.get(job_id, self._clock())
            if self._clock() - gone[job_id] >= LAG:
                settle(self.sweep, job, self._ending(job, newest.job if newest is not None else None))
        self._gone = gone

    def _ending(self, job: Job, seen: RayJob | None) -> Ending:
        if seen is None:
            return Ending(FORGOTTEN)
        if seen.status == "STOPPED":
            return Ending("stopped", "ray job stop", saved=False)
        if seen.exit_code is None:
            return Ending(f"{seen.error or seen.status}: {_first_line(seen.message)}", saved=False)
        words = [f"exit {seen.exit_code}", *self._last_words(job, seen)]
        return Ending("; ".join(words), saved=seen.exit_code == STOPPED)

    def _last_words(self, job: Job, seen: RayJob) -> list[str]:
        """Return the last line that a job has printed, into its log or, before that was open, into Ray's own."""
        log = self.sweep.job_folder(job) / "log.txt"
        text = log.read_text(errors="replace") if log.exists() else ""
        return (text.strip() or seen.message.strip()).splitlines()[-1:]

    def _hand_over(self) -> None:
        """Hand Ray the jobs that it may have now; whoever else does so at the same time does no harm."""
        submitted = self._submitted()
        newest_of = {job.key: self._newest(job_id) for job, job_id in submitted}
        arms = sum(
            job.kind is Kind.arm and (newest := newest_of[job.key]) is not None and newest.job.living
            for job, _ in submitted
        )
        for job, job_id in submitted:
            newest = newest_of[job.key]
            if self._final(job) or (newest is None and self._began(job, job_id)):
                continue
            if newest is not None and not self._goes_on(newest):
                continue
            reason, never = self._blocked(job)
            if never:
                cancelled(self.sweep, job, in_vain(self.sweep, job) or reason)
            elif not reason and not (job.kind is Kind.arm and self._is_full(arms)):
                arms += job.kind is Kind.arm
                self._submit(job, self._next(job_id, newest))

    def _is_full(self, arms: int) -> bool:
        return self.config.throttle is not None and arms >= self.config.throttle

    def _next(self, job_id: str, newest: Newest | None) -> str:
        """Return the id of the next Ray Job of a submission; one that never began is used again."""
        if newest is None:
            return job_id
        if newest.job.error != GAVE_UP:
            return _numbered(job_id, newest.number + 1)
        same = _numbered(job_id, newest.number)
        with suppress(Refused):  # where another process has just handed it over
            self.cluster.forget(same)
        return same

    def _submit(self, job: Job, ray_id: str) -> None:
        self.sweep.job_folder(job).mkdir(parents=True, exist_ok=True)
        self.cluster.submit(ray_id, **submission(self.sweep, self.config, job, ray_id))
        self._known[ray_id] = RayJob("PENDING")

    def _asleep(self, job: Job) -> str | None:
        """Return a stage that a job waits for and that has stopped, and goes on only when it is submitted again."""
        for stage, job_id in self._submitted():
            outcome, newest = self.sweep.outcome(stage), self._newest(job_id)
            stopped = outcome is not None and outcome.ended is Ended.stopped and outcome.job_id == job_id
            if stage.key in job.needs and stopped and (newest is None or not newest.job.living):
                return stage.key
        return None

    def _blocked(self, job: Job) -> tuple[str, bool]:
        """Return what keeps a job from beginning ("" for nothing), and whether it always will."""
        jobs: Mapping[str, Job] = {one.key: one for one in self.sweep.jobs}
        ids = job_ids(self.sweep)
        for key in job.needs:
            outcome = self.sweep.outcome(jobs[key])
            if key in ids and not is_final(self.sweep, jobs[key], outcome):
                return f"waits for {key}", False
            if outcome is None or outcome.ended not in DONE_WELL:
                return f"stage {key}, which it needs, was never submitted", True
        return "", False


def _numbered(job_id: str, number: int) -> str:
    return f"{job_id}.{number}" if number else job_id


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word of why"])[0]
