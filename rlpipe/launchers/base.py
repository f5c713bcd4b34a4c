"""What a place that runs jobs must offer: the pool of this machine, or a cluster."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from rlpipe.core.errors import LaunchError, Problem, guess
from rlpipe.records.sweep import Job, Sweep

BACKENDS = {
    "local": "rlpipe.launchers.local.backend:LocalBackend",
    "slurm": "rlpipe.launchers.slurm.backend:SlurmBackend",
}
"""Where the jobs of each launcher run."""


class Phase(Enum):
    """Where a backend sees a job."""

    queued = "queued"
    running = "running"
    gone = "gone"
    """It is not there any more: it ended, well or not (its outcome says so), or it was lost."""


@dataclass(frozen=True)
class Sighting:
    """What a backend knows of a job at this moment."""

    phase: Phase
    job_id: str | None = None
    reason: str | None = None
    """Why it waits, in the scheduler's word (`Priority`, `Resources`, `PartitionTimeLimit`), or how it was lost
    (`OUT_OF_MEMORY`, `TIMEOUT`, `NODE_FAIL`, `exit 139 (SIGSEGV)`)."""
    hopeless: bool = False
    """It waits for what will never come."""
    place: str | None = None
    """The node or GPU that it runs on."""


class Backend(ABC):
    """Runs the frozen jobs of one sweep, each as `python -m rlpipe.sweep.job FOLDER` or the same in-process.

    Everything that it needs to know stands in the sweep's folder, so that any process can make one later:
    `sweep.data["settings"]` are the launcher's fields (`hydra.launcher.…`), `sweep.data["cwd"]` is where jobs start.
    Jobs that end without writing an outcome, or that will never start, get theirs from `job.lost` and `job.cancelled`.
    """

    here: ClassVar[bool] = False
    """Whether jobs run on this machine, so that what it has counts when they are checked."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep

    @property
    def at_once(self) -> int | None:
        """Most jobs that run at the same time, for the plan; None where that is up to others."""
        return None

    @property
    def gpus(self) -> int:
        """GPUs of one job, for the plan."""
        return 0

    @abstractmethod
    def problems(self) -> list[Problem]:
        """Return what speaks against running here, before anything is submitted (no sbatch, no such partition)."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs over, those that others need first, and note it with `sweep.submitted`; returns at once.

        A job starts when the jobs that it needs are done; when one of them fails or is cancelled it is cancelled,
        and its outcome says why. Raises LaunchError.
        """

    @abstractmethod
    def sightings(self, jobs: Sequence[Job]) -> Mapping[str, Sighting]:
        """Return what is known of jobs, by key; those never submitted are left out. Cheap: called every second."""

    @abstractmethod
    def cancel(self, jobs: Sequence[Job]) -> None:
        """End jobs, running or not; their outcome says `cancelled`."""


def backend_of(sweep: Sweep) -> Backend:
    """Return where a sweep's jobs run. Raises LaunchError for a launcher that this rlpipe does not have."""
    name = sweep.data["launcher"]
    if name not in BACKENDS:
        raise LaunchError(sweep.folder, f"its launcher '{name}' is none of rlpipe's", guess(name, BACKENDS))
    module, _, cls = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), cls)(sweep)
    return backend
