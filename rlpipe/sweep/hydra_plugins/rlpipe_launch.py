"""What Hydra finds of rlpipe: `hydra/launcher=local`, `hydra/launcher=slurm`, `hydra/sweeper=grid`, and its options.

Hydra looks through this module each time it discovers plugins anew, as it does in a frozen job.
"""

from __future__ import annotations

from typing import Any, ClassVar

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf, open_dict

from rlpipe.config.launchers import LauncherConfig
from rlpipe.config.plugins import ConfigFolders
from rlpipe.launch.local.config import LocalConfig
from rlpipe.launch.slurm.config import SlurmConfig
from rlpipe.sweep import sweeper
from rlpipe.sweep.launcher import Launcher

__all__ = ["ConfigFolders", "GridSweeper", "LocalLauncher", "SlurmLauncher", "store"]


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


def store() -> None:
    """Tell Hydra of the options' fields, which the YAML of conf/hydra pulls in from `schema/…`."""
    for launcher in (LocalLauncher, SlurmLauncher):
        _store("launcher", launcher.name, launcher, launcher.Config)
    _store("sweeper", "grid", GridSweeper, sweeper.GridConfig)
    _let_trials_fail()


def _store(kind: str, name: str, plugin: type, config: type) -> None:
    node: Any = OmegaConf.structured(config)
    with open_dict(node):
        node._target_ = f"{plugin.__module__}.{plugin.__name__}"
    ConfigStore.instance().store(group=f"schema/{kind}", name=name, node=node, provider="rlpipe")


def _let_trials_fail() -> None:
    """Let Optuna's sweeper count failed arms as failed trials; by its own default the first one ends the study."""
    store = ConfigStore.instance()
    if "optuna.yaml" in store.list("hydra/sweeper"):
        node = store.load("hydra/sweeper/optuna.yaml").node
        node.max_failure_rate = 1.0
        store.store(group="hydra/sweeper", name="optuna", node=node, provider="rlpipe")
