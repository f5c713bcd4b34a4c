"""Sweeps of real runs, small ones, and what is compared between two of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlpipe.core.files import hashes
from rlpipe.launchers.base import Phase
from rlpipe.launchers.slurm.launcher import SlurmLauncher
from rlpipe.records.sweep import Job, Sweep

LAUNCHER = (
    *("hydra/launcher=slurm", "hydra.launcher.gpus=0", "hydra.launcher.cpus=1", "hydra.launcher.memory=900M"),
    *("hydra.launcher.time=30", "hydra.launcher.grace=60", "hydra.launcher.poll=0.5", "hydra.launcher.wait=false"),
)
SMALL = (
    *("model=blank", "dataset=ultrafeedback", "dataset.sample_size=120", "method=dpo", "method.batch_size=4"),
    *("method.micro_batch_size=4", "method.max_length=128", "evaluation=none", "hardware.device=cpu", "log.every=1"),
)


def submit(folder: Path, *overrides: str) -> Sweep:
    """Submit a sweep as a person would, and return it."""
    command = [sys.executable, "-m", "rlpipe", "-m", *LAUNCHER, *SMALL, f"hydra.sweep.dir={folder}", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return Sweep.load(folder)


class Watched:
    """A sweep with somebody who looks after it."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        self.launcher = SlurmLauncher(sweep)

    def until(self, met: Callable[[], Any], seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := met()):
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.2)
        return found

    def ended(self, job: Job) -> str | None:
        outcome = self.sweep.outcome(job)
        return outcome and outcome.ended.value

    def running(self) -> list[Job]:
        seen = self.launcher.statuses(self.sweep.jobs)
        return [job for job in self.sweep.jobs if job.key in seen and seen[job.key].phase is Phase.running]

    def done(self) -> bool:
        self.launcher.statuses(self.sweep.jobs)
        return all(self.ended(job) == "ok" for job in self.sweep.jobs)

    def job_id(self, job: Job) -> str:
        ids = {key: one for row in self.sweep.submissions for key, one in row["job_ids"].items()}
        return ids[job.key]

    def told(self) -> str:
        logs = ((self.sweep.job_folder(job) / "log.txt", self.sweep.outcome(job)) for job in self.sweep.jobs)
        return "\n".join(f"{path}\n{outcome}\n{path.exists() and path.read_text()[-1500:]}" for path, outcome in logs)


def weights(run_dir: Path | str) -> str:
    return hashes(Path(run_dir) / "model")["model.safetensors"]


def steps(run_dir: Path | str) -> list[int]:
    rows = (Path(run_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["step"] for row in rows]


def tracked_steps(run_dir: Path | str) -> list[int]:
    """Return the steps that a run's TensorBoard curve of the loss has points at."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(os.path.join(run_dir, "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return [event.step for event in events.Scalars("loss")]


def manifest(run_dir: Path | str) -> dict[str, Any]:
    return json.loads((Path(run_dir) / "manifest.json").read_text())
