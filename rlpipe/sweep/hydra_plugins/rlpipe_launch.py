"""What Hydra finds of rlpipe: a class for each launcher plugin (`hydra/launcher=…`), and for each sweeper.

Hydra looks through this module each time it discovers plugins anew, as it does in a frozen job.
"""

from __future__ import annotations

from rlpipe.config.hydra import ConfigFolders, hydra_class
from rlpipe.config.plugins import table
from rlpipe.sweep import hydra_launcher, sweeper

__all__ = ["LAUNCHERS", "AshaSweeper", "ConfigFolders", "GridSweeper", "TpeSweeper"]


LAUNCHERS = {
    name: type(hydra_class(name), (hydra_launcher.HydraLauncher,), {"name": name, "__module__": __name__})
    for name in table()["launcher"]
}
"""Hydra's class for each launcher, by the launcher's name."""
globals().update({cls.__name__: cls for cls in LAUNCHERS.values()})  # Hydra finds a class as a name in its module


class GridSweeper(sweeper.GridSweeper):
    """Every combination of the values."""


class AshaSweeper(sweeper.AshaSweeper):
    """Every combination of the values, of which hopeless ones end early."""


class TpeSweeper(sweeper.TpeSweeper):
    """Settings that are drawn where earlier ones were good."""
