"""Sweeps of small jobs on a SLURM."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rlpipe.launchers.slurm.launcher import SlurmLauncher
from rlpipe.records.sweep import Job, Kind, Outcome, Sweep
from rlpipe.sweep.job import freeze
from tests.launchers.slurm.cluster import Cluster

SETTINGS = {"gpus": 0, "cpus": 1, "memory": "300M", "time": "10", "grace": 60, "poll": 0.2}
"""Small jobs, watched closely."""
HERE = [f"export PYTHONPATH={Path(__file__).resolve().parents[3]}"]
"""What stands beside a job's work is of this checkout too, whichever is installed."""


@dataclasses.dataclass
class Study:
    """A sweep on the cluster, with what tests ask of it."""

    sweep: Sweep
    launcher: SlurmLauncher

    def job(self, key: str) -> Job:
        return next(job for job in self.sweep.jobs if job.key == key)

    def outcome(self, key: str) -> Outcome | None:
        return self.sweep.outcome(self.job(key))

    def ended(self, key: str) -> str | None:
        outcome = self.outcome(key)
        return outcome and outcome.ended.value

    def log(self, key: str) -> str:
        path = self.sweep.job_folder(self.job(key)) / "log.txt"
        return path.read_text() if path.exists() else ""

    def job_id(self, key: str) -> str:
        return {k: i for row in self.sweep.submissions for k, i in row["job_ids"].items()}[key]

    def until(self, met: Callable[[], Any], seconds: float = 180) -> Any:
        """Look after the sweep, as a watching person does, until something is so."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.launcher.statuses(self.sweep.jobs)
            if found := met():
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s:\n{seen}\n{self.told()}")
            time.sleep(0.1)

    def all_over(self, seconds: float = 180) -> dict[str, str]:
        """Wait until every job has its verdict, and return them."""
        over = ("ok", "failed", "cancelled")
        self.until(lambda: all(self.ended(job.key) in over for job in self.sweep.jobs), seconds)
        print(self.told())  # pytest shows it where a test fails
        return {job.key: str(self.ended(job.key)) for job in self.sweep.jobs}

    def told(self) -> str:
        """Return what is known of every job."""
        return "\n".join(
            f"{job.key}: {self.sweep.outcome(job)}\n{self.log(job.key)[-2000:]}" for job in self.sweep.jobs
        )


Make = Callable[..., Study]


@pytest.fixture
def study(cluster: Cluster, tmp_path: Path) -> Make:
    """Make a sweep of arms (a function each), and of stages that all arms need; nothing is submitted yet."""

    def make(
        arms: Mapping[str, Callable[[], Any]], stages: Mapping[str, Callable[[], Any]] | None = None, **settings: Any
    ) -> Study:
        sweep = Sweep.create(
            tmp_path / "sweep",
            launcher="slurm",
            settings={**SETTINGS, "setup": HERE, **settings},
            cwd=str(Path(__file__).parents[3]),
            code={},
        )
        stages = stages or {}
        jobs = [Job(key, Kind.stage, (), str(tmp_path / "store" / key)) for key in stages]
        jobs += [Job(key, Kind.arm, (), str(sweep.folder / key), tuple(stages)) for key in arms]
        for job in jobs:
            Path(job.run_dir).mkdir(parents=True)
            freeze(sweep, job, {**stages, **arms}[job.key])
        sweep.add(jobs)
        return Study(sweep, SlurmLauncher(sweep))

    return make
