"""Which submitted jobs a place without dependencies has, may have now, or has lost.

A submission is noted in the sweep's folder first, with the job's id; the place gets it when what it needs is done, from
whoever looks next. The place takes an id once, so that nothing runs twice, whoever is killed when. The id of a job that
goes on after its time limit, or after what it ran on was lost, is the submission's with a number.
"""

from __future__ import annotations

import hashlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from rlpipe.launchers.base import JobStatus, NoAnswer, Phase, Refused
from rlpipe.launchers.verdict import Ending, in_vain, is_final, job_ids, settle
from rlpipe.records.sweep import DONE_WELL, Ended, Job, Kind, Sweep, cancelled

SILENCE = 60.0
"""Seconds without an answer after which a place may be gone, and is said to be silent."""


class Remote(Protocol):
    """A job as its place shows it."""

    @property
    def phase(self) -> Phase:
        """Whether it waits, runs or has ended."""

    @property
    def waits_for(self) -> str:
        """Why it waits."""

    @property
    def place(self) -> str:
        """What it runs on, empty where that is not said."""


R = TypeVar("R", bound=Remote)


@dataclass(frozen=True)
class Newest(Generic[R]):
    """The newest of the place's jobs of a submission."""

    number: int
    job: R


class Queue(ABC, Generic[R]):
    """The submitted jobs of one sweep; a launcher says what is particular to its place."""

    name: ClassVar[str]
    """What the sweep's folder calls the place."""
    title: ClassVar[str]
    """What people call it."""
    lag: ClassVar[float] = 0.0
    """Seconds that a job's last words may take."""
    numbering: ClassVar[str]
    """What stands in an id before the number of a job that goes on."""
    forgotten: ClassVar[str]
    """What is said of a job that had begun and that the place does not know."""

    def __init__(
        self,
        sweep: Sweep,
        poll: float,
        requeues: int,
        throttle: int | None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.sweep = sweep
        self.poll, self.requeues, self.throttle = poll, requeues, throttle
        self._clock = clock
        self._answered = float("-inf")
        self._asked = float("-inf")
        self._known: dict[str, R] = {}
        self._gone: dict[str, float] = {}
        """Since when a job that had begun is not living."""
        self.by_hand: set[str] = set()
        """The keys of jobs that this process is ending: it writes down itself how they ended."""

    @abstractmethod
    def seen(self) -> dict[str, R]:
        """Ask the place for the sweep's jobs, by id. Raises NoAnswer and Refused."""

    @abstractmethod
    def submission_id(self, key: str, number: int) -> str:
        """Return the id of a job's submission, the first of which has number 1."""

    @abstractmethod
    def hand_over(self, job: Job, place_id: str) -> R:
        """Hand the place a job, unless it has the id; return how it stands then. Raises NoAnswer and Refused."""

    @abstractmethod
    def goes_on(self, job: Job, newest: Newest[R]) -> bool:
        """Whether a job that has ended there is handed over again."""

    @abstractmethod
    def ending(self, job: Job, seen: R) -> Ending:
        """Return how the place saw a job end."""

    def bring_home(self, job: Job, newest: Newest[R]) -> None:
        """Fetch what a job has left where it ran; nothing where that is this very folder."""

    def is_home(self, job: Job, newest: Newest[R]) -> bool:
        """Whether all is here that a job which has ended has left."""
        return True

    def next_id(self, job_id: str, newest: Newest[R] | None) -> str:
        """Return the id of the place's next job of a submission."""
        return job_id if newest is None else self.numbered(job_id, newest.number + 1)

    def numbered(self, job_id: str, number: int) -> str:
        """Return the id of the place's job of a submission that has this number."""
        return f"{job_id}{self.numbering}{number}" if number else job_id

    @property
    def identity(self) -> str:
        """A hash that no other sweep has."""
        what = f"{self.sweep.folder} {self.sweep.data.get('created')}"
        return hashlib.sha256(what.encode()).hexdigest()[:8]

    def note(self, jobs: list[Job]) -> None:
        """Write down that jobs are submitted, which makes them the queue's to hand over."""
        rows = self.sweep.submissions
        number = {job.key: 1 + sum(job.key in row["keys"] for row in rows) for job in jobs}
        ids = {key: self.submission_id(key, one) for key, one in number.items()}
        self.sweep.submitted(self.name, list(ids), job_ids=ids)

    def ask(self, now: bool = False) -> None:
        """Ask the place, write down what jobs that are gone could not say themselves, and hand over what may begin.

        Asked more often than `poll` allows, or when there is nothing left to learn, it does nothing, unless `now`.
        Without an answer, what was seen last stands. Raises LaunchError when there has never been one.
        """
        if not now and (self._clock() - self._asked < self.poll or self.is_all_known()):
            return
        self._asked = self._clock()
        try:
            self._known = self.seen()
            self._answered = self._clock()
            self._settle()
            self._hand_over()
        except NoAnswer:
            if now or self._answered == float("-inf"):
                raise

    def is_all_known(self) -> bool:
        """Whether nothing is left to learn: a sweep that is over can be looked at where nobody answers any more."""
        return all(self.is_over(job) for job, _ in self.submitted())

    def statuses(self) -> dict[str, JobStatus]:
        """Return how every submitted job stands, as of the last answer."""
        silent = self._clock() - self._answered
        long = silent > max(SILENCE, 2 * self.poll)
        words = f"{self.title} has not answered for {silent:.0f} s" if long else None
        return {job.key: self._status(job, job_id, words) for job, job_id in self.submitted()}

    def living(self, jobs: list[Job]) -> dict[str, tuple[str, R]]:
        """Return the place's jobs that wait or run, with their ids, by key."""
        keys = {job.key for job in jobs}
        found = {job.key: (job_id, self.newest(job_id)) for job, job_id in self.submitted() if job.key in keys}
        return {
            key: (self.numbered(job_id, newest.number), newest.job)
            for key, (job_id, newest) in found.items()
            if newest is not None and newest.job.phase is not Phase.gone
        }

    def again(self, job: Job) -> str:
        """Queue a job again whose attempt has saved, and return what was done, in words."""
        job_id = job_ids(self.sweep)[job.key]
        try:
            self._known = self.seen()
            newest = self.newest(job_id)
            number = newest.number + 1 if newest is not None else 1
            if number > self.requeues:
                return f"not queued again: that was done {number - 1} times already (hydra.launcher.requeues)"
            self._submit(job, self.numbered(job_id, number))
        except (NoAnswer, Refused) as error:
            return f"not queued again: {error.headline}"
        return "queued again"

    def submitted(self) -> list[tuple[Job, str]]:
        """Return the jobs that were submitted, stages first, each with the id of its newest submission."""
        ids = job_ids(self.sweep)
        return [(job, ids[job.key]) for job in self.sweep.jobs if job.key in ids]

    def newest(self, job_id: str) -> Newest[R] | None:
        """Return the newest of the place's jobs of a submission, None where it has had none."""
        tail = re.compile(rf"(?:{re.escape(self.numbering)}(\d+))?")
        numbered = {
            int(found[1] or 0): one
            for known, one in self._known.items()
            if known.startswith(job_id) and (found := tail.fullmatch(known[len(job_id) :]))
        }
        return Newest(max(numbered), numbered[max(numbered)]) if numbered else None

    def is_over(self, job: Job) -> bool:
        """Whether it is known how the newest submission of a job has ended."""
        return is_final(self.sweep, job, self.sweep.outcome(job))

    def _began(self, job: Job, job_id: str) -> bool:
        outcome = self.sweep.outcome(job)
        return outcome is not None and outcome.job_id == job_id

    def _status(self, job: Job, job_id: str, silent: str | None) -> JobStatus:
        newest = self.newest(job_id)
        if self.is_over(job):
            return JobStatus(Phase.gone, job_id)
        if newest is None:
            if self._began(job, job_id):
                return JobStatus(Phase.gone, job_id, self.forgotten)
            if asleep := self._asleep(job):
                return JobStatus(Phase.queued, job_id, f"waits for {asleep}, which has stopped", hopeless=True)
            return JobStatus(Phase.queued, job_id, silent or self._blocked(job)[0] or "waits for its turn")
        place = newest.job.place or None
        if newest.job.phase is Phase.queued:
            return JobStatus(Phase.queued, job_id, silent or newest.job.waits_for)
        if newest.job.phase is Phase.running:
            return JobStatus(Phase.running, job_id, silent, place=place)
        if not self.is_home(job, newest):
            return JobStatus(Phase.running, job_id, silent or "its results are on their way", place=place)
        if self.goes_on(job, newest):
            return JobStatus(Phase.queued, job_id, silent or "is handed over anew")
        return JobStatus(Phase.gone, job_id, self.ending(job, newest.job).reason, place=place)

    def _settle(self) -> None:
        """Write down how jobs that are gone ended, where they could not say it themselves."""
        gone: dict[str, float] = {}
        for job, job_id in self.submitted():  # stages come before what needs them
            newest = self.newest(job_id)
            if newest is not None:
                self.bring_home(job, newest)
            if self.is_over(job) or (newest is None and not self._began(job, job_id)):
                continue
            if newest is not None and (not self._has_ended(job, newest) or self.goes_on(job, newest)):
                continue
            if job.key in self.by_hand:
                continue
            gone[job_id] = self._gone.get(job_id, self._clock())
            if self._clock() - gone[job_id] >= self.lag:
                settle(self.sweep, job, self.ending(job, newest.job) if newest else Ending(self.forgotten))
        self._gone = gone

    def _hand_over(self) -> None:
        """Hand the place the jobs that it may have now; whoever else does so at the same time does no harm."""
        submitted = self.submitted()
        newest_of = {job.key: self.newest(job_id) for job, job_id in submitted}
        arms = sum(
            job.kind is Kind.arm and (newest := newest_of[job.key]) is not None and newest.job.phase is not Phase.gone
            for job, _ in submitted
        )
        for job, job_id in submitted:
            newest = newest_of[job.key]
            if self.is_over(job) or job.key in self.by_hand or (newest is None and self._began(job, job_id)):
                continue
            if newest is not None and not (self._has_ended(job, newest) and self.goes_on(job, newest)):
                continue
            reason, never = self._blocked(job)
            if never:
                cancelled(self.sweep, job, in_vain(self.sweep, job) or reason)
            elif not reason and not (job.kind is Kind.arm and self._is_full(arms)):
                arms += job.kind is Kind.arm
                self._submit(job, self.next_id(job_id, newest))

    def _has_ended(self, job: Job, newest: Newest[R]) -> bool:
        return newest.job.phase is Phase.gone and self.is_home(job, newest)

    def _is_full(self, arms: int) -> bool:
        return self.throttle is not None and arms >= self.throttle

    def _submit(self, job: Job, place_id: str) -> None:
        self.sweep.job_folder(job).mkdir(parents=True, exist_ok=True)
        self._known[place_id] = self.hand_over(job, place_id)

    def _asleep(self, job: Job) -> str | None:
        """Return a stage that a job waits for and that has stopped, and goes on only when it is submitted again."""
        for stage, job_id in self.submitted():
            outcome, newest = self.sweep.outcome(stage), self.newest(job_id)
            stopped = outcome is not None and outcome.ended is Ended.stopped and outcome.job_id == job_id
            lives = newest is not None and (newest.job.phase is not Phase.gone or self.goes_on(stage, newest))
            if stage.key in job.needs and stopped and not lives:
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


def words(text: str) -> str:
    """Return a name as the part of an id that most places take."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)
