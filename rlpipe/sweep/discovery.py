"""Making rlpipe's launchers and sweepers known to Hydra.

Hydra 1.3 takes them only from the namespace package `hydra_plugins`. So a folder of ours
(`rlpipe/sweep/hydra_plugins/`) is added to the namespace's path from here, and nothing stands beside the package.
"""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from types import ModuleType

from hydra.core.plugins import Plugins

from rlpipe.config import hydra

NAMESPACE = "hydra_plugins"


@functools.cache
def register() -> None:
    """Let Hydra find rlpipe's options, and the launchers and sweepers that they name. Call before it launches."""
    hydra.register()
    extend_namespace(Path(__file__).parent / NAMESPACE)
    module = importlib.import_module(f"{NAMESPACE}.rlpipe_launch")
    for plugin in (*module.LAUNCHERS.values(), module.GridSweeper, module.AshaSweeper, module.TpeSweeper):
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
