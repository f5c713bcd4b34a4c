"""How jobs stand with SLURM: squeue for the living, sacct or scontrol for the dead, all jobs in one question."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from rlpipe.launchers.base import JobStatus, NoAnswer, Phase, Refused
from rlpipe.launchers.slurm.command import ask, pairs

QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "CONFIGURING")
PASSING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "SIGNALING")
"""States in which a job that squeue does not show any more may yet come back to it."""
SETTLING = 60.0
"""Seconds for which it is waited for."""
STUBBORN = 600.0
"""Seconds after which a reason that may pass is taken for one that will not."""

_NEVER = re.compile(
    r"PartitionTimeLimit|PartitionNodeLimit|PartitionConfig|PartitionInactive|PartitionDown|BadConstraints"
    r"|DependencyNeverSatisfied|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed|JobHeldAdmin|JobHeldUser"
    r"|launch failed requeued held|ReservationDeleted|(QOS|Assoc)\w*Max\w*PerJob\w*|(QOS|Assoc)\w*MaxWall\w*"
)
_SELDOM = re.compile(r"ReqNodeNotAvail|(QOS|Assoc)\w*Grp\w*|Nodes required for job are DOWN|Reservation")
_MISSING = "not in squeue"


@dataclass(frozen=True)
class Seen:
    """One job as SLURM shows it."""

    state: str
    reason: str = ""
    place: str = ""
    exit_code: str = "0:0"
    living: bool = True
    """Whether squeue shows it."""

    def status(self, job_id: str, hopeless: bool) -> JobStatus:
        """Return what the launcher makes of it."""
        if self.living and self.state in QUEUED:
            return JobStatus(Phase.queued, job_id, self.reason or self.state, hopeless)
        if self.living:
            return JobStatus(Phase.running, job_id, place=self.place or None)
        return JobStatus(Phase.gone, job_id, self.ending, place=self.place or None)

    @property
    def ending(self) -> str:
        """How a job that is gone ended, in SLURM's word and, where it says more, the exit code's."""
        code, _, number = self.exit_code.partition(":")
        if self.state != "FAILED":
            return self.state
        if number not in ("", "0"):
            return f"{self.state} ({_signal(int(number))})"
        return f"{self.state} (exit {code}{', ' + _signal(int(code) - 128) if int(code) > 128 else ''})"


class Queue:
    """Asks SLURM about jobs, not more often than it is allowed to, and remembers what it said."""

    def __init__(self, poll: float, clock: Callable[[], float] = time.monotonic):
        self._poll = poll
        self._clock = clock
        self._polled = float("-inf")
        self._seen: dict[str, Seen] = {}
        self._since: dict[str, tuple[str, float]] = {}
        """For each job what it waits for, or that squeue does not show it, and since when."""
        self._accounting = True

    def look(self, ids: Collection[str]) -> dict[str, JobStatus]:
        """Return how jobs stand, by id (`12_3`).

        Without an answer, what was seen last stands. Raises LaunchError when there has never been one.
        """
        new = not set(ids) <= self._seen.keys()
        if ids and (new or self._clock() - self._polled >= self._poll):
            try:
                self._ask(ids)
            except NoAnswer:
                if new:
                    raise
            self._polled = self._clock()
        return {one: self._seen[one].status(one, self._hopeless(one)) for one in ids}

    def gone_for(self, job_id: str) -> float:
        """Return the seconds for which squeue has not shown a job."""
        what, since = self._since.get(job_id, ("", 0.0))
        return self._clock() - since if what == _MISSING else 0.0

    def _ask(self, ids: Collection[str]) -> None:
        living = squeue()
        gone = [one for one in ids if one not in living]
        dead = self._dead(gone) if gone else {}
        for one in ids:
            what = living[one].reason if one in living else _MISSING
            if one not in self._since or self._since[one][0] != what:
                self._since[one] = (what, self._clock())
            self._seen[one] = living.get(one) or self._settled(one, dead.get(one))

    def _dead(self, ids: Collection[str]) -> dict[str, Seen]:
        records: dict[str, Seen] = {}
        silent: NoAnswer | None = None
        if self._accounting:
            try:
                records = accounted(ask("sacct", *_SACCT, "--jobs", ",".join(sorted(_arrays(ids)))))
            except Refused:  # no accounting here, or no sacct
                self._accounting = False
            except NoAnswer as error:  # its database is down, which the controller can do without
                silent = error
        found = records | remembered([one for one in ids if one not in records])
        if silent is not None and not set(ids) <= found.keys():
            raise silent
        return found

    def _settled(self, job_id: str, seen: Seen | None) -> Seen:
        """Return a job that squeue does not show as gone, unless it may only be between two states."""
        if seen is None:  # nobody remembers it any more
            known = self._seen.get(job_id)
            return known if known and not known.living else Seen("forgotten by SLURM", living=False)
        passing = seen.state in (*PASSING, *QUEUED)
        return replace(seen, living=passing and self.gone_for(job_id) < SETTLING)

    def _hopeless(self, job_id: str) -> bool:
        seen = self._seen[job_id]
        if not seen.living or seen.state not in QUEUED:
            return False
        if _NEVER.search(seen.reason):
            return True
        lasted = self._clock() - self._since[job_id][1]
        return bool(_SELDOM.search(seen.reason)) and lasted > STUBBORN


def squeue() -> dict[str, Seen]:
    """Return the user's living jobs by id. Raises LaunchError."""
    output = ask("squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", "%i|%T|%r|%N")
    rows = (line.strip().split("|", 3) for line in output.splitlines() if line.count("|") >= 3)
    return {
        task: Seen(state, "" if reason == "None" else reason, place)
        for job, state, reason, place in rows
        for task in tasks(job)
    }


_NOWHERE = "None assigned"
"""What sacct says of a job that never began, in place of its nodes."""
_SACCT = ("--noheader", "--parsable2", "--format", "JobID,State,ExitCode,NodeList")


def accounted(output: str) -> dict[str, Seen]:
    """Return what sacct says of jobs by id; a step that ran out of memory speaks for its whole job."""
    seen: dict[str, Seen] = {}
    starved = set()
    for line in output.splitlines():
        job, state, code, place = (line.split("|") + [""] * 4)[:4]
        job, _, step = job.partition(".")
        state = state.split(" ")[0]  # `CANCELLED by 1000`
        if not step:
            seen |= dict.fromkeys(tasks(job), Seen(state, place=place.replace(_NOWHERE, ""), exit_code=code))
        elif state == "OUT_OF_MEMORY":
            starved.add(job)
    for job in starved & seen.keys():
        if seen[job].state in ("FAILED", "CANCELLED"):
            seen[job] = replace(seen[job], state="OUT_OF_MEMORY")
    return seen


def remembered(ids: Iterable[str]) -> dict[str, Seen]:
    """Return what the controller itself still remembers of jobs, by id. Raises NoAnswer."""
    seen: dict[str, Seen] = {}
    for array in sorted(_arrays(ids)):
        try:
            output = ask("scontrol", "--oneliner", "show", "job", array)
        except Refused:  # it has forgotten the job
            continue
        for row in map(pairs, output.splitlines()):
            job = f"{row['ArrayJobId']}_[{row['ArrayTaskId']}]" if "ArrayTaskId" in row else row.get("JobId", "")
            state = row.get("JobState", "")
            state = "OUT_OF_MEMORY" if row.get("Reason") == "OutOfMemory" else state
            place = row.get("NodeList", "").replace("(null)", "")
            one = Seen(state, row.get("Reason", ""), place, row.get("ExitCode", "0:0"))
            seen |= dict.fromkeys(tasks(job), one)
    return seen


_TASKS = re.compile(r"(\d+)_\[([^\]%]*)(?:%\d+)?\]?")


def tasks(job: str) -> list[str]:
    """Return the jobs that SLURM writes as one: `13_[0-2,7,10-20:5%1]` are seven, of which one runs at a time.

    A list that it has cut short (`13_[0-2,...]`) names what it names.
    """
    found = _TASKS.fullmatch(job)
    if found is None:
        return [job]
    numbers: list[int] = []
    for part in found[2].split(","):
        first, _, rest = part.partition("-")
        last, _, step = rest.partition(":")
        if first.isdigit() and (last or first).isdigit() and (step or "1").isdigit():
            numbers += range(int(first), int(last or first) + 1, int(step or 1))
    return [f"{found[1]}_{number}" for number in numbers]


def _arrays(ids: Iterable[str]) -> set[str]:
    return {one.partition("_")[0] for one in ids}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
