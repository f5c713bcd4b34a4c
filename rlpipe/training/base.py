"""What trainers are built from, and what makes data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rlpipe.datasets.base import Splits
from rlpipe.models.base import Loaded

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from rlpipe.config.schema import RunConfig
    from rlpipe.core.signals import StopRequest
    from rlpipe.records.record import Record
    from rlpipe.trackers.base import Tracker


@dataclass
class Parts:
    """Everything that a method may need to build its trainer."""

    config: RunConfig
    loaded: Loaded
    data: Splits
    """Examples already in the form that the method takes."""
    run_dir: Path
    callbacks: list[TrainerCallback] = field(default_factory=list)


@dataclass
class Making:
    """What making data may use of the run, beside its parts."""

    record: Record
    tracker: Tracker
    stop: StopRequest
    cost: dict[str, float]
    """What has been spent (`tokens`, `calls`): kept up to date, whatever ends the run."""


class Maker(Protocol):
    """Makes the rows of a method whose product is data."""

    def make(self, making: Making) -> dict[str, float]:
        """Write the rows to the run's `data/`, note their hashes as `data_files`, and return numbers about them.

        Goes on where an earlier attempt ended. Raises Stopped when asked to stop.
        """
