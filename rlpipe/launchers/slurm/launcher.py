"""SLURM as a place to run a sweep's jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rlpipe.config.launchers import SlurmConfig
from rlpipe.core.errors import LaunchError, Problem
from rlpipe.launchers.base import JobStatus, Launcher, NoAnswer, Phase, Refused
from rlpipe.launchers.slurm import cluster, problems, script
from rlpipe.launchers.slurm.arrays import Array, arrays
from rlpipe.launchers.slurm.command import ask
from rlpipe.launchers.slurm.queue import Queue
from rlpipe.launchers.slurm.verdict import settle
from rlpipe.launchers.verdict import is_final, job_ids
from rlpipe.records.sweep import Ended, Job, Sweep, cancelled

LAG = 3.0
"""Seconds that a job's last words may take through a shared file system."""


class SlurmLauncher(Launcher):
    """Runs jobs as arrays of SLURM's; see `rlpipe.launchers.slurm`."""

    Config = SlurmConfig
    config: SlurmConfig

    def __init__(self, sweep: Sweep):
        super().__init__(sweep)
        self.queue = Queue(self.config.poll)

    @property
    def at_once(self) -> int | None:
        """Most arms at the same time, None where that is SLURM's to say."""
        return self.config.throttle

    @property
    def gpus(self) -> int:
        """GPUs of one job."""
        return self.config.gpus * self.config.nodes

    @property
    def work(self) -> Path:
        """Where the batch scripts are kept, and what they print outside of any job's log."""
        return self.sweep.folder / ".launch" / "slurm"

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings, asking SLURM itself in the end."""
        found = problems.problems(self.config, self.sweep.folder)
        return found if any(problem.fatal for problem in found) else [*found, *self._refusal()]

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit jobs as arrays, each dependent on what its jobs need. Raises LaunchError."""
        doomed = self._doomed(jobs)
        for job in jobs:
            if job.key in doomed:
                cancelled(self.sweep, job, doomed[job.key])
        ids = self.living()
        left = [job for job in jobs if job.key not in doomed]
        sent: list[str] = []
        for array in arrays(left, cluster.largest_array(), self.config.throttle):
            for job in array.jobs:
                self.sweep.job_folder(job).mkdir(parents=True, exist_ok=True)
            sent.append(self._submit(array, ids, sent))
            ids |= {job.key: f"{sent[-1]}_{task}" for task, job in enumerate(array.jobs)}

    def statuses(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        """Return how jobs stand, and write down for those that are gone what they could not say themselves."""
        ids = job_ids(self.sweep)
        known = {job.key: job for job in jobs if job.key in ids}
        ended = {key for key, job in known.items() if is_final(self.sweep, job, self.sweep.outcome(job))}
        seen = self.queue.look({ids[key] for key in known.keys() - ended})
        for key in [key for key in known if key not in ended]:  # stages come before what needs them
            if self.queue.gone_for(ids[key]) >= LAG:
                settle(self.sweep, known[key], seen[ids[key]])
        return {key: JobStatus(Phase.gone, ids[key]) if key in ended else seen[ids[key]] for key in known}

    def living(self) -> dict[str, str]:
        """Return SLURM's ids of the jobs that are queued or running now, by key."""
        seen = self.statuses(self.sweep.jobs)
        return {key: one.job_id for key, one in seen.items() if one.phase is not Phase.gone and one.job_id}

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Cancel jobs, running or not. Raises LaunchError."""
        ids = job_ids(self.sweep)
        self._scancel([ids[job.key] for job in jobs if job.key in ids])
        for job in jobs:
            if not is_final(self.sweep, job, self.sweep.outcome(job)):
                cancelled(self.sweep, job, "cancelled by hand")

    def _submit(self, array: Array, ids: Mapping[str, str], sent: Sequence[str]) -> str:
        waits = [f"afterok:{ids[key]}" for key in array.needs if key in ids]
        waits += [f"afterany:{sent[array.follows]}"] if array.follows is not None else []
        begun = time.time()
        array_id = script.submit(
            self.config,
            [self.sweep.job_folder(job) for job in array.jobs],
            self.work,
            name=f"rlpipe-{self.sweep.folder.name}",
            cwd=self.sweep.data["cwd"],
            after=",".join(waits),
            at_once=array.at_once,
        )
        named = {job.key: f"{array_id}_{task}" for task, job in enumerate(array.jobs)}
        self.sweep.submitted("slurm", list(named), job_ids=named, time=begun)
        return array_id

    def _refusal(self) -> list[Problem]:
        """Return what sbatch itself says against the settings, without submitting anything."""
        text = script.text(self.config, [self.sweep.folder], self.work, cwd=self.sweep.data["cwd"])
        try:
            script.test(text)
        except (NoAnswer, Refused) as error:
            return [Problem(problems.AT, f"sbatch refuses the jobs: {error.headline}", "fix the settings it names")]
        return []

    def _doomed(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Return the jobs that need what has failed and is not being run again, with the reason."""
        again = {job.key for job in jobs}
        known = {job.key: job for job in self.sweep.jobs}
        doomed: dict[str, str] = {}
        for job in jobs:
            for key in set(job.needs) - again:
                outcome = self.sweep.outcome(known[key])
                if outcome is not None and outcome.ended in (Ended.failed, Ended.cancelled):
                    doomed[job.key] = f"stage {key}, which it needs, {outcome.ended.value}: {outcome.error}"
        return doomed

    def _scancel(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), 500):  # a command line has an end
            try:
                ask("scancel", "--quiet", *ids[start : start + 500])
            except Refused as error:
                refused = error.at("scancel")
                raise LaunchError(refused.where, refused.what, refused.fix) from error
