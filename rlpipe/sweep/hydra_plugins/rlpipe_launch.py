"""What Hydra finds of rlpipe: `hydra/launcher=local`, `hydra/launcher=slurm`, `hydra/sweeper=grid`.

Hydra looks through this module each time it discovers plugins anew, as it does in a frozen job.
"""

from __future__ import annotations

from typing import ClassVar

from rlpipe.config.hydra import ConfigFolders
from rlpipe.config.launchers import LauncherConfig, LocalConfig, SlurmConfig
from rlpipe.sweep import sweeper
from rlpipe.sweep.launcher import Launcher

__all__ = ["ConfigFolders", "GridSweeper", "LocalLauncher", "SlurmLauncher"]


class LocalLauncher(Launcher):
    """Runs the jobs in a pool on this machine."""

    name: ClassVar[str] = "local"
    Config: ClassVar[type[LauncherConfig]] = LocalConfig


class SlurmLauncher(Launcher):
    """Hands the jobs to SLURM."""

    name: ClassVar[str] = "slurm"
    Config: ClassVar[type[LauncherConfig]] = SlurmConfig


class GridSweeper(sweeper.GridSweeper):
    """Every combination of the values."""
