"""No tracker: the run's own record is enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlpipe.trackers.base import RunIdentity, Tracker


class NoTracker(Tracker):
    """Shows nothing anywhere."""

    def start(self, run: RunIdentity, config: dict[str, Any]) -> None:
        """Do nothing."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Do nothing."""

    def table(self, name: str, rows: Sequence[dict[str, Any]], step: int) -> None:
        """Do nothing."""

    def summary(self, metrics: Mapping[str, float | str | None]) -> None:
        """Do nothing."""

    def finish(self, ok: bool) -> None:
        """Do nothing."""
