"""What runs inside a Ray Job: `python -m rlpipe.launchers.ray.task SWEEP/.launch/KEY ID`, with the Ray Job's own id.

Ray asks a job to stop by SIGTERM, to all of its processes, only when somebody ends it: it is not queued again. Time
limits are kept here (`rlpipe.launchers.attempt`). At its end a job hands over what waited for it or for its resources.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from rlpipe.config.launchers import RayConfig
from rlpipe.core.errors import LaunchError
from rlpipe.launchers import work
from rlpipe.launchers.attempt import Attempt
from rlpipe.launchers.environment import kept
from rlpipe.launchers.ray.cluster import Cluster
from rlpipe.launchers.ray.queue import RayQueue
from rlpipe.launchers.units import seconds
from rlpipe.launchers.verdict import is_final, job_ids
from rlpipe.records.sweep import Sweep


class Task(Attempt):
    """One job's work in a Ray Job."""

    def __init__(self, folder: Path, ray_id: str):
        """Read what the sweep's folder says of the job."""
        self.config = RayConfig.of(Sweep.load(folder.parents[1]).data.get("settings", {}))
        super().__init__(folder, None if self.config.time is None else seconds(self.config.time), self.config.grace)
        self.job_id = ray_id.partition(".")[0]
        # Ray says here where its head is; the address by which jobs were submitted may be a tunnel's.
        self.queue = RayQueue(self.sweep, self.config, Cluster(None))

    @property
    def several(self) -> bool:
        """Whether the job's run has more than one process."""
        return self.config.gpus > 1

    @property
    def ranks(self) -> tuple[range, int]:
        """The numbers of the run's processes on this node, and how many it has on all."""
        count = max(1, self.config.gpus)
        return range(count), count

    def run(self) -> int:
        """Run the work, unless the job was cancelled or submitted anew while it waited, then hand over others."""
        newest = job_ids(self.sweep).get(self.job.key)
        if self.job_id != newest or is_final(self.sweep, self.job, self.sweep.outcome(self.job)):
            print(f"rlpipe: {self.job_id} does not run: it was cancelled, or is {newest} by now", file=sys.stderr)
            return 0
        code = super().run()
        self._hand_over_others()
        return code

    def start(self) -> subprocess.Popen[bytes]:
        """Start the work, with the submitting shell's variables."""
        python = shlex.split(self.config.python) if self.config.python else [sys.executable]
        return work.start_here(self.folder, python, self.config.gpus, self.job_id)

    def queue_again(self) -> str:
        """Hand Ray the job again, and return what was done, in words."""
        if self.requested is signal.SIGTERM:
            return "not queued again: Ray was asked to end it"
        return self.queue.again(self.job)

    def _hand_over_others(self) -> None:
        others = [job for job in self.sweep.jobs if job.key != self.job.key and job.key in job_ids(self.sweep)]
        if all(is_final(self.sweep, job, self.sweep.outcome(job)) for job in others):
            return
        try:
            self.queue.ask(now=True)
        except LaunchError as error:  # who watches the sweep, or resumes it, hands them over
            print(f"rlpipe: jobs that wait are not handed over from here: {error.headline}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Run the job whose folder is named, and return the exit code."""
    if len(arguments) != 2:
        print("usage: python -m rlpipe.launchers.ray.task SWEEP/.launch/KEY ID", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    os.environ |= kept(Sweep.load(folder.parents[1]), "ray")
    return Task(folder, arguments[1]).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
