"""What stands beside a job's work where a scheduler runs it: one attempt at a job, from its start to its verdict.

The work runs in a process of its own, so that whatever ends it is noticed and written down. Requests to stop become
one SIGTERM to the work alone: it saves at the next step boundary, the job is queued again and goes on in the same
folder.

Exit codes are the work's: 0 done, 1 failed, 75 saved and can go on, 128 + n killed by signal n.
"""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import FrameType
from typing import ClassVar

from rlpipe.launchers import words, work
from rlpipe.records.sweep import (
    DONE_WELL,
    NOTHING_SAVED,
    STOPPED,
    Ended,
    Job,
    Kind,
    Outcome,
    Sweep,
    lost,
    read_outcome,
    write_outcome,
)

MARGIN = 20.0
"""Seconds before the time limit at which a work that has not stopped is killed, to queue the job again in time."""
LATE = 60.0
"""Seconds by which a scheduler may be early with its request: it looks at time limits now and then."""


class Attempt(ABC):
    """One job's work and the requests to stop that came for it; a launcher says what is particular to its place."""

    requests: ClassVar[tuple[signal.Signals, ...]] = (signal.SIGTERM,)
    """How the scheduler asks. SIGTERM never is its way to say that the time limit is near."""
    asks: ClassVar[bool] = True
    """Whether the work is asked to save ahead of the time limit from here; else the scheduler does that."""

    def __init__(self, folder: Path, limit: float | None, grace: float):
        """Take the job's folder, its time limit in seconds (None for none), and the seconds that it has to save."""
        self.folder = folder
        self.sweep = Sweep.load(folder.parents[1])
        self.limit = limit
        self.grace = grace
        self.requested: signal.Signals | None = None
        self.requested_at = float("inf")
        self.begun = time.time()
        self.child: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def several(self) -> bool:
        """Whether the job's run has more than one process."""

    @property
    def ranks(self) -> tuple[range, int]:
        """The numbers of the run's processes on this node, and how many it has on all."""
        return range(1), 1

    @abstractmethod
    def start(self) -> subprocess.Popen[bytes]:
        """Start the job's work."""

    @abstractmethod
    def queue_again(self) -> str:
        """Have the scheduler queue the job again, and return what was done, in words."""

    def run(self) -> int:
        """Run the work to its end, see to what is to happen then, and return the exit code."""
        for number in self.requests:
            signal.signal(number, self._request)
        signal.signal(signal.SIGALRM, self._alarm)
        if self.limit is not None:
            self._wake(self.grace if self.asks else min(MARGIN, self.limit / 10))
        before = read_outcome(self.folder)
        words.forget(self.folder, self.ranks[0])
        self.child = self.start()
        if self.requested is not None:  # it came while the work was being started
            work.ask_to_stop(self.child, self.several)
        code = self.child.wait()
        code = code if code >= 0 else 128 - code
        if code == 0:
            return 0
        if self.several and self.requested is None:
            words.note_killed(self.folder, self.ranks[0], self.memory_limit)
        outcome = read_outcome(self.folder)
        # What an earlier attempt wrote says nothing of this one.
        return self.ended(code, outcome if outcome is not None and outcome != before else Outcome(Ended.running))

    def _wake(self, ahead: float) -> None:
        """Set the alarm so many seconds ahead of the time limit."""
        assert self.limit is not None
        signal.setitimer(signal.ITIMER_REAL, max(1.0, self.limit - ahead - (time.time() - self.begun)))

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested is None:
            self.requested, self.requested_at = signal.Signals(number), time.time()
            if self.child is not None and self.child.poll() is None:
                work.ask_to_stop(self.child, self.several)

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        """Ask the work to save ahead of its time limit; end one that goes on at it.

        It could not stop (an evaluation), or was never asked.
        """
        if self.asks and self.requested is None:
            self._request(number, frame)
            self._wake(min(MARGIN, self.grace / 10))
            return
        self.requested = self.requested or signal.Signals(number)
        self.requested_at = min(self.requested_at, time.time())
        if self.child is not None and self.child.poll() is None:
            self.child.kill()

    def ended(self, code: int, outcome: Outcome) -> int:
        """See to a work that did not end in good order: it is queued again if it was asked to stop, else it failed.

        One that was done had only its process still to end. An error that came after the request counts as its
        consequence: the processes that a run works with get the signal too. One that is the run's own comes again.
        """
        if outcome.ended in DONE_WELL:
            return 0
        failed_before = outcome.ended is Ended.failed and outcome.time < self.requested_at
        if self.requested is not None and not failed_before:
            return self._stopped(outcome, self.requested)
        if outcome.ended is Ended.stopped:
            return STOPPED
        self._failed(outcome, code)
        return code

    def _stopped(self, outcome: Outcome, requested: signal.Signals) -> int:
        """Have the job queued again, unless it spends its whole time limit on nothing that it could keep."""
        what = "the time limit" if requested is signal.SIGALRM else requested.name
        why = outcome.error or f"{what} came {NOTHING_SAVED}"
        saved = outcome.ended is Ended.stopped and NOTHING_SAVED not in why
        outcome = dataclasses.replace(outcome, ended=Ended.stopped, error=why, time=time.time())
        write_outcome(self.folder, outcome)
        if self._at_limit() and not saved and not self._kept():
            fix = "a longer hydra.launcher.time, or checkpoints more often"
            self._failed(outcome, STOPPED, f"the time limit came {NOTHING_SAVED}; it needs {fix}")
            return STOPPED
        requeued = self.queue_again()
        print(f"rlpipe: stopped by {what}; {requeued}", file=sys.stderr, flush=True)
        if read_outcome(self.folder) == outcome:  # the next attempt may have begun
            write_outcome(self.folder, dataclasses.replace(outcome, error=f"{why}; {requeued}"))
        return STOPPED

    def _at_limit(self) -> bool:
        if self.limit is None or self.requested is signal.SIGTERM:
            return False
        return self.requested_at - self.begun > self.limit - self.grace - LATE

    def _kept(self) -> bool:
        """Whether this attempt left something that the next one need not do again."""
        run_dir = Path(self.job.run_dir)
        kept = (path for name in ("checkpoints", "evaluations", "model") for path in (run_dir / name).rglob("*"))
        return any(path.stat().st_mtime > self.begun for path in kept)

    def _failed(self, outcome: Outcome, code: int, reason: str | None = None) -> None:
        """Write down how the work was lost, if it could not say so itself, and tell the jobs that need it."""
        from rlpipe.launchers import verdict

        if outcome.ended is not Ended.failed:
            lost(self.sweep, self.job, reason or self.how(code), code)
        elif self.several:
            self._name_first(outcome)
        if self.job.kind is Kind.stage:
            verdict.cancel_dependants(self.sweep, self.job)

    def _name_first(self, outcome: Outcome) -> None:
        """Say which process failed first, where the main one's failure is what came of it."""
        rank, first = words.first_failure(self.folder, self.ranks[1]) or (0, outcome)
        if rank > 0:
            error = f"process {rank} ({first.host}): {first.error}"
            why = first.traceback or outcome.traceback
            write_outcome(self.folder, dataclasses.replace(outcome, error=error, traceback=why))

    @property
    def job(self) -> Job:
        """The job that this is an attempt at."""
        return next(job for job in self.sweep.jobs if self.sweep.job_folder(job) == self.folder)

    def how(self, code: int) -> str:
        """Return what an exit code says of how a work was lost."""
        if code <= 128:
            return f"exit {code}, and no word of why"
        try:
            name = signal.Signals(code - 128).name
        except ValueError:
            return f"exit {code}"
        if name == "SIGKILL":
            return f"exit {code} ({name}): mostly for want of memory{self.memory_limit}"
        return f"exit {code} ({name})"

    @property
    def memory_limit(self) -> str:
        """What follows where memory was probably short: which limit there is, and which field says it."""
        return ""
