"""Making the launchers and the sweeper known to Hydra.

Hydra 1.3 takes launchers and sweepers only from the namespace package `hydra_plugins`. So that folder of ours
(`rlpipe/launch/hydra_plugins/`) is added to the namespace's path from here, and nothing stands beside the package.
"""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from types import ModuleType

NAMESPACE = "hydra_plugins"


@functools.cache
def register() -> None:
    """Let Hydra find `hydra/launcher=local`, `hydra/launcher=slurm` and `hydra/sweeper=grid`. Call before composing."""
    extend_namespace(Path(__file__).parent / NAMESPACE)
    from hydra.core.plugins import Plugins

    module = importlib.import_module(f"{NAMESPACE}.rlpipe_launch")
    for plugin in (module.LocalLauncher, module.SlurmLauncher, module.GridSweeper):
        Plugins.instance().register(plugin)
    module.store()


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
