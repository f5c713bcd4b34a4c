"""What runs inside a SLURM job, on each of its nodes: `python -m rlpipe.launchers.slurm.task SWEEP/.launch/KEY`.

SLURM asks to stop by SIGUSR2 ahead of the time limit, and by SIGTERM at a preemption (`rlpipe.launchers.attempt`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

from rlpipe.config.launchers import SlurmConfig
from rlpipe.launchers.attempt import Attempt
from rlpipe.launchers.slurm import ranks
from rlpipe.launchers.slurm.command import requeue
from rlpipe.launchers.units import seconds
from rlpipe.records.sweep import Ended, Outcome, Sweep, read_outcome

_LAST_WORDS = 45.0
"""Seconds for which other nodes wait for the first node's verdict."""


class Task(Attempt):
    """One job's work on this node."""

    requests: ClassVar[tuple[signal.Signals, ...]] = (signal.SIGUSR2, signal.SIGTERM)
    asks: ClassVar[bool] = False

    def __init__(self, folder: Path):
        """Read what the sweep's folder says of the job, and SLURM of when it began."""
        self.config = SlurmConfig.of(Sweep.load(folder.parents[1]).data.get("settings", {}))
        super().__init__(folder, seconds(self.config.time), self.config.grace)
        self.begun = float(os.environ.get("SLURM_JOB_START_TIME") or self.begun)

    @property
    def several(self) -> bool:
        """Whether the job's run has more than one process."""
        return ranks.several(self.config)

    @property
    def ranks(self) -> tuple[range, int]:
        """The numbers of the run's processes on this node, and how many it has on all."""
        node, each = int(os.environ.get("SLURM_NODEID", "0")), self.config.processes_per_node
        return range(node * each, (node + 1) * each), self.config.nodes * each

    def start(self) -> subprocess.Popen[bytes]:
        """Start this node's part of the work."""
        return ranks.start(self.config, self.folder, os.environ)

    def queue_again(self) -> str:
        """Have SLURM queue the job again, and return what was done, in words."""
        return requeue(self.config.requeues)

    def ended(self, code: int, outcome: Outcome) -> int:
        """See to a work that did not end in good order; of several nodes the first one does."""
        if int(os.environ.get("SLURM_NODEID", "0")) > 0:
            return self._another_node(code)
        return super().ended(code, outcome)

    def _another_node(self, code: int) -> int:
        """Return the exit code of another node than the first: SLURM ends all nodes when one of them fails.

        So where the run has failed, the first node is left to say why, and ends this one.
        """
        until, before = time.monotonic() + _LAST_WORDS, self.requested
        while time.monotonic() < until and self.requested is before:
            outcome = read_outcome(self.folder)
            if outcome is not None and outcome.ended not in (Ended.running, Ended.failed):
                return 0 if outcome.ended is Ended.stopped else code
            time.sleep(0.5)
        return code

    @property
    def memory_limit(self) -> str:
        """What SLURM gave the job, and which field says it."""
        memory = os.environ.get("SLURM_MEM_PER_NODE")
        return f"; its limit{f' of {memory} MB' if memory else ''} is hydra.launcher.memory"


def main(arguments: list[str]) -> int:
    """Run the job whose folder is named, and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m rlpipe.launchers.slurm.task SWEEP/.launch/KEY", file=sys.stderr)
        return 2
    return Task(Path(arguments[0]).resolve()).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
