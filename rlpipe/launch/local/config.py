"""What the local pool can be told. Imports nothing heavy: every composition reads it."""

from __future__ import annotations

from dataclasses import dataclass

from rlpipe.config.launchers import LauncherConfig


@dataclass
class LocalConfig(LauncherConfig):
    """Jobs of a sweep on this machine."""

    jobs: int | None = None
    """Most jobs at once. Default: one for each GPU; without any, one for every two cores."""
