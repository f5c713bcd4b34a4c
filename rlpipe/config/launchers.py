"""What every launcher can be told, whatever the place where it runs jobs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class LauncherConfig:
    """The fields that `hydra.launcher.…` has for every launcher."""

    wait: bool = True
    """Watch the sweep until it is over. `false` returns as soon as the jobs are handed over, and says how to come back.
    Sweepers that learn from results (Optuna) need `true`."""
