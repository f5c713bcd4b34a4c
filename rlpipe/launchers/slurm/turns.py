"""Several short arms of one SLURM job, one after another, each forked from a process that has imported what they need.

    python -m rlpipe.launchers.slurm.turns SWEEP/.launch/KEY …

The job is asked to stop as one: the arm that runs saves, the job is queued again, and what is not over then goes on.
An arm that is cancelled while others of its job are not is marked by a file, and ended here. The time limit is the
job's: an arm that has come late in it, and could not save anything, is not to blame.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType

from rlpipe.launchers.base import JOB, job_environment
from rlpipe.launchers.slurm import ranks
from rlpipe.launchers.slurm.command import current_job_id
from rlpipe.launchers.slurm.task import Task
from rlpipe.launchers.verdict import FINAL
from rlpipe.launchers.warm import IMPORTS, LIGHT, Child, Start, Warm
from rlpipe.records import heartbeat
from rlpipe.records.sweep import DONE, FAILED, STOPPED, Ended, Outcome, Sweep, cancelled, lost, read_outcome

CANCEL = "cancel"
"""The file in a job's folder that says that it is to end, or not to begin."""
BY_HAND = "cancelled by hand"
TICK = 0.2
"""Seconds between two looks at an arm that runs."""
LAST_WORDS = 5.0
"""Seconds that the exit code of an arm that has just ended may take to come."""
_REQUESTS = (*Task.requests, signal.SIGALRM)


class Turn(Task):
    """One arm's turn in its job."""

    def __init__(self, folder: Path, warm: Warm, first: bool):
        """Take the arm's folder, what it is forked from, and whether it has the job's time limit to itself."""
        super().__init__(folder)
        self.warm, self.first = warm, first
        self.at_the_end = False
        """Whether the time limit has come so near that an arm that still runs must be killed."""

    @property
    def was_queued_again(self) -> bool:
        """Whether SLURM has been asked to queue the job again, as it is for an arm that has saved."""
        outcome = read_outcome(self.folder)
        return outcome is not None and outcome.ended is Ended.stopped

    @property
    def is_over(self) -> bool:
        """Whether an earlier attempt at this SLURM job has seen to the arm, or somebody has cancelled it."""
        outcome = read_outcome(self.folder)
        done = outcome is not None and outcome.ended in FINAL and outcome.job_id == current_job_id(os.environ)
        return done or self._is_cancelled

    @property
    def _is_cancelled(self) -> bool:
        return (self.folder / CANCEL).exists()

    def start(self) -> subprocess.Popen[bytes] | Child:
        """Start the arm, to which requests to stop go from here on. A container's Python cannot be forked from here."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _REQUESTS)
        if self.config.container:
            return ranks.start(self.config, self.folder, os.environ)
        log = str(self.folder / "log.txt")
        environment = job_environment(current_job_id(os.environ))
        start = Start(JOB, (str(self.folder),), os.getcwd(), environment, (os.devnull, log, log), (signal.SIGUSR2,))
        return self.warm.start(start)

    def wait(self, child: subprocess.Popen[bytes] | Child) -> int:
        """Pass on what is requested until the arm ends, and return the exit code."""
        asked: float | None = None
        while (code := child.poll()) is None:
            if heartbeat.born(child.pid) is None:
                last = child.wait(LAST_WORDS)
                return FAILED if last is None else last  # None: what it was forked from is gone too
            if asked is None and (self.requested is not None or self._is_cancelled):
                asked = time.monotonic()
                child.send_signal(signal.SIGTERM)
            if self.at_the_end or (asked is not None and self._is_cancelled and time.monotonic() - asked > self.grace):
                child.kill()
            time.sleep(TICK)
        return code

    def ended(self, code: int, outcome: Outcome) -> int:
        """See to an arm that did not end in good order; one that was cancelled is that, whatever it wrote."""
        if self._is_cancelled:
            cancelled(self.sweep, self.job, BY_HAND)
            return DONE
        return super().ended(code, outcome)

    def _request(self, number: int, frame: FrameType | None) -> None:
        """Note a request, for `wait`: what is said of a forked arm is read there alone."""
        if self.requested is None:
            self.requested, self.requested_at = signal.Signals(number), time.time()

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        self._request(number, frame)
        self.at_the_end = True

    def _at_limit(self) -> bool:
        return self.first and super()._at_limit()


def one_after_another(folders: Sequence[Path]) -> int:
    """Run the arms of a job that are not over, and return the job's exit code."""
    with closing(Warm(IMPORTS if Sweep.load(folders[0].parents[1]).is_ours else LIGHT)) as warm:
        code, first = DONE, True
        for place, folder in enumerate(folders):
            turn = Turn(folder, warm, first)
            if turn.is_over:
                continue
            _log_to(folder)
            code, first = max(code, _run(turn)), False
            signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)  # what comes now is for the next turn
            if turn.requested is not None:
                left = any(not Turn(other, warm, False).is_over for other in folders[place + 1 :])
                if left and not turn.was_queued_again:
                    print(
                        f"rlpipe: stopped by {turn.requested.name}; {turn.queue_again()}", file=sys.stderr, flush=True
                    )
                return STOPPED
        return code


def _run(turn: Turn) -> int:
    """Run an arm, and return its exit code; one that cannot be started has failed."""
    try:
        return turn.run()
    except OSError as error:
        lost(turn.sweep, turn.job, f"cannot be started: {error}")
        return FAILED


def _log_to(folder: Path) -> None:
    """Have what this process says stand in an arm's log."""
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    sys.exit(one_after_another([Path(argument).resolve() for argument in sys.argv[1:]]))
