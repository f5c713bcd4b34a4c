"""What every launcher has: the pool of this machine, a cluster, a cloud.

A package adds its own through the entry-point group `rlpipe.launcher`; `rlpipe.testing.check_launcher` checks it.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

from rlpipe.config import plugins
from rlpipe.config.launchers import LauncherConfig
from rlpipe.config.resolved import plugin_class
from rlpipe.core.errors import LaunchError, Problem, guess
from rlpipe.records.sweep import JOB_ID, Job, Sweep

__all__ = [
    "Hourly",
    "JobStatus",
    "Launcher",
    "LauncherConfig",
    "NoAnswer",
    "Phase",
    "Refused",
    "job_command",
    "job_environment",
    "launcher_of",
]


class NoAnswer(LaunchError):
    """The place does not answer for now: what was asked may be asked again."""


class Refused(LaunchError):
    """The place answered, and said no."""


class Phase(Enum):
    """Where a launcher sees a job."""

    queued = "queued"
    running = "running"
    gone = "gone"
    """It is not there any more: it ended, well or not (its outcome says so), or it was lost."""


@dataclass(frozen=True)
class JobStatus:
    """What a launcher knows of a job at this moment."""

    phase: Phase
    job_id: str | None = None
    reason: str | None = None
    """Why it waits, in the scheduler's words, or how it was lost (out of memory, `exit 139 (SIGSEGV)`)."""
    hopeless: bool = False
    """It waits for what will never come."""
    place: str | None = None
    """The node or GPU that it runs on."""


@dataclass(frozen=True)
class Hourly:
    """What an hour of one job costs."""

    dollars: float | None
    """None where that is not known."""
    words: str
    """Of what, or what to do to know it."""


class Launcher(ABC):
    """Runs the frozen jobs of one sweep: each is `job_command(FOLDER)` in `job_environment(ID)`.

    Everything that it needs to know stands in the sweep's folder, so that any process can make one later:
    `sweep.data["settings"]` are its fields (`hydra.launcher.…`, read here as `self.config`), `sweep.data["cwd"]` is
    where jobs start, `sweep.job_folder(job)` has a job's files; what it prints belongs into `log.txt` there.
    A job that is asked to stop (SIGTERM) saves, exits with 75, and goes on when it is started again.
    Jobs that end without writing an outcome, or that will never start, get theirs from `records.sweep.lost` and
    `records.sweep.cancelled`, written by the launcher.
    """

    Config: ClassVar[type[LauncherConfig]] = LauncherConfig
    here: ClassVar[bool] = False
    """Whether jobs run on this machine, so that what it has counts when they are checked."""

    def __init__(self, sweep: Sweep):
        """Keep the sweep, and read the settings that its folder holds."""
        self.sweep = sweep
        self.config = self.Config.of(sweep.data.get("settings", {}))

    @property
    def at_once(self) -> int | None:
        """Most jobs that run at the same time, for the plan; None where that is up to others."""
        return None

    @property
    def gpus(self) -> int:
        """GPUs of one job, for the plan."""
        return 0

    def hourly(self) -> Hourly | None:
        """What an hour of one job costs, for the plan; None where nothing is paid by the hour."""
        return None

    @abstractmethod
    def problems(self) -> list[Problem]:
        """Return what speaks against running here, before anything is submitted (no such command, no such queue)."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs over, those that others need first, and note it with `sweep.submitted`; returns at once.

        A job starts when the jobs that it needs are done; when one of them fails or is cancelled it is cancelled,
        and its outcome says why. Raises LaunchError.
        """

    @abstractmethod
    def statuses(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        """Return what is known of jobs, by key; those never submitted are left out. Cheap: called every second."""

    @abstractmethod
    def cancel(self, jobs: Sequence[Job]) -> None:
        """End jobs, running or not; their outcome says `cancelled`."""


def launcher_of(sweep: Sweep) -> Launcher:
    """Return the launcher of a sweep. Raises LaunchError for one not installed, PluginError for a broken one."""
    name = sweep.data["launcher"]
    known = plugins.table()["launcher"]
    if name not in known:
        raise LaunchError(sweep.folder, f"its launcher '{name}' is not installed here", guess(name, known))
    launcher: Launcher = plugin_class("launcher", name)(sweep)
    return launcher


def job_command(folder: Path, *python: str) -> list[str]:
    """Return the command that runs the frozen job of a folder; `python` is another interpreter, with its arguments."""
    return [*(python or (sys.executable,)), "-m", "rlpipe.sweep.job", str(folder)]


def job_environment(job_id: str | None) -> dict[str, str]:
    """Return this process's environment for a job, which learns from it the id that its launcher knows it by."""
    without = {key: value for key, value in os.environ.items() if key != JOB_ID}
    return without if job_id is None else {**without, JOB_ID: job_id}
