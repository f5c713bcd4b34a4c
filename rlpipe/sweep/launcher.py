"""The launcher that Hydra calls.

One class for every place where jobs can run; `hydra_plugins.rlpipe_launch` names the places. Every composition
imports this module, so what launching needs is imported when something is launched.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import hydra.plugins.launcher
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from rlpipe.config.launchers import LauncherConfig
    from rlpipe.sweep.launching import Launching

NAMESPACE = "hydra_plugins"


class Launcher(hydra.plugins.launcher.Launcher):
    """What Hydra makes of `hydra/launcher=…`."""

    name: ClassVar[str]
    Config: ClassVar[type[LauncherConfig]]
    launching: Launching

    def __init__(self, **settings: Any):
        """Leave the settings to the sweep's config, which holds them too."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        from rlpipe.sweep.launching import Launching

        self.launching = Launching(self.name, hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one arm for each list of overrides: `Launching.launch`."""
        return self.launching.launch(job_overrides, initial_job_idx)


@functools.cache
def register() -> None:
    """Let Hydra find the launchers and sweepers that its config names. Call before it launches anything.

    Hydra 1.3 takes them only from the namespace package `hydra_plugins`. So a folder of ours
    (`rlpipe/sweep/hydra_plugins/`) is added to the namespace's path from here, and nothing stands beside the package.
    """
    extend_namespace(Path(__file__).parent / NAMESPACE)
    module = importlib.import_module(f"{NAMESPACE}.rlpipe_launch")
    for plugin in (module.LocalLauncher, module.SlurmLauncher, module.GridSweeper):
        Plugins.instance().register(plugin)


def extend_namespace(folder: Path) -> None:
    """Add a folder to the namespace `hydra_plugins`, which is made where no installed plugin has made it."""
    try:
        namespace = importlib.import_module(NAMESPACE)
    except ModuleNotFoundError:
        namespace = ModuleType(NAMESPACE)
        namespace.__path__ = []
        sys.modules[NAMESPACE] = namespace
    # A plain list: the namespace's own kind of path forgets what was added when sys.path changes.
    namespace.__path__ = [*(place for place in namespace.__path__ if place != str(folder)), str(folder)]
