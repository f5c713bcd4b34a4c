"""What runs inside a SLURM job, on each of its nodes: `python -m rlpipe.launchers.slurm.task SWEEP/.launch/KEY`.

It starts the job's work in a process of its own and stays beside it, so that whatever ends the work is noticed and
written down. SLURM's requests to stop (SIGUSR2 ahead of the time limit, SIGTERM at a preemption) become one SIGTERM
to the work alone: it saves at the next step boundary, and the job is queued again and goes on in the same folder.

Exit codes are the work's: 0 done, 1 failed, 75 saved and can go on, 128 + n killed by signal n.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from rlpipe.config.launchers import SlurmConfig
from rlpipe.launchers.slurm import ranks
from rlpipe.launchers.slurm.command import requeue, seconds
from rlpipe.records.sweep import DONE_WELL, Ended, Job, Kind, Outcome, Sweep, lost, read_outcome, write_outcome

STOPPED = 75
REQUESTS = (signal.SIGUSR2, signal.SIGTERM)

_LAST_WORDS = 60.0
"""Seconds for which other nodes wait for the first node's verdict."""
_MARGIN = 20.0
"""Seconds before the time limit at which a work that has not stopped is killed, to queue the job again in time."""
_LATE = 60.0
"""Seconds by which SLURM may be early with its request: it looks at time limits now and then."""


class Task:
    """One job's work and the requests to stop that came for it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.sweep = Sweep.load(folder.parents[1])
        self.config = SlurmConfig.of(self.sweep.data.get("settings", {}))
        self.requested: signal.Signals | None = None
        self.requested_at = float("inf")
        self.begun = float(os.environ.get("SLURM_JOB_START_TIME") or time.time())
        self.child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run the work to its end, see to what is to happen then, and return the exit code."""
        for number in REQUESTS:
            signal.signal(number, self._request)
        signal.signal(signal.SIGALRM, self._kill)
        if (limit := seconds(self.config.time)) is not None:
            left = limit - min(_MARGIN, limit / 10) - (time.time() - self.begun)
            signal.setitimer(signal.ITIMER_REAL, max(1.0, left))
        before = read_outcome(self.folder)
        self.child = ranks.start(self.config, self.folder, os.environ)
        if self.requested is not None:  # it came while the work was being started
            ranks.ask_to_stop(self.config, self.child)
        code = self.child.wait()
        code = code if code >= 0 else 128 - code
        if code == 0:
            return 0
        if int(os.environ.get("SLURM_NODEID", "0")) > 0:
            return self._another_node(code)
        outcome = read_outcome(self.folder)
        # What an earlier attempt wrote says nothing of this one.
        return self._ended(code, outcome if outcome is not None and outcome != before else Outcome(Ended.running))

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested is None:
            self.requested, self.requested_at = signal.Signals(number), time.time()
            if self.child is not None and self.child.poll() is None:
                ranks.ask_to_stop(self.config, self.child)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        """End a work that goes on at its time limit: it could not stop (an evaluation), or was never asked."""
        self.requested = self.requested or signal.Signals(number)
        self.requested_at = min(self.requested_at, time.time())
        if self.child is not None and self.child.poll() is None:
            self.child.kill()

    def _ended(self, code: int, outcome: Outcome) -> int:
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
        from rlpipe.records.sweep import NOTHING_SAVED

        what = "the time limit" if requested is signal.SIGALRM else requested.name
        words = outcome.error or f"{what} came {NOTHING_SAVED}"
        saved = outcome.ended is Ended.stopped and NOTHING_SAVED not in words
        outcome = dataclasses.replace(outcome, ended=Ended.stopped, error=words, time=time.time())
        write_outcome(self.folder, outcome)
        if self._at_limit() and not saved and not self._kept():
            fix = "a longer hydra.launcher.time, or checkpoints more often"
            self._failed(outcome, STOPPED, f"the time limit came {NOTHING_SAVED}; it needs {fix}")
            return STOPPED
        requeued = requeue(self.config.requeues)
        print(f"rlpipe: stopped by {what}; {requeued}", file=sys.stderr, flush=True)
        write_outcome(self.folder, dataclasses.replace(outcome, error=f"{words}; {requeued}"))
        return STOPPED

    def _at_limit(self) -> bool:
        limit = seconds(self.config.time)
        if limit is None or self.requested is signal.SIGTERM:
            return False
        return self.requested_at - self.begun > limit - self.config.grace - _LATE

    def _kept(self) -> bool:
        """Whether this attempt left something that the next one need not do again."""
        run_dir = Path(self._job().run_dir)
        kept = (path for name in ("checkpoints", "evaluations", "model") for path in (run_dir / name).rglob("*"))
        return any(path.stat().st_mtime > self.begun for path in kept)

    def _failed(self, outcome: Outcome, code: int, reason: str | None = None) -> None:
        """Write down how the work was lost, if it could not say so itself, and tell the jobs that need it."""
        from rlpipe.launchers.slurm import verdict

        job = self._job()
        if outcome.ended is not Ended.failed:
            lost(self.sweep, job, reason or how(code), code)
        if job.kind is Kind.stage:
            verdict.cancel_dependants(self.sweep, job)

    def _another_node(self, code: int) -> int:
        """Return the exit code of another node than the first: SLURM ends all nodes when one of them fails."""
        until = time.monotonic() + _LAST_WORDS
        while time.monotonic() < until:
            outcome = read_outcome(self.folder)
            if outcome is not None and outcome.ended is not Ended.running:
                return 0 if outcome.ended is Ended.stopped else code
            time.sleep(0.5)
        return code

    def _job(self) -> Job:
        return next(job for job in self.sweep.jobs if self.sweep.job_folder(job) == self.folder)


def how(code: int) -> str:
    """Return what an exit code says of how a work was lost."""
    if code <= 128:
        return f"exit {code}, and no word of why"
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        return f"exit {code}"
    if name == "SIGKILL":
        memory = os.environ.get("SLURM_MEM_PER_NODE")
        limit = f" of {memory} MB" if memory else ""
        return f"exit {code} ({name}): mostly for want of memory; its limit{limit} is hydra.launcher.memory"
    return f"exit {code} ({name})"


def main(arguments: list[str]) -> int:
    """Run the job whose folder is named, and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m rlpipe.launchers.slurm.task SWEEP/.launch/KEY", file=sys.stderr)
        return 2
    return Task(Path(arguments[0]).resolve()).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
