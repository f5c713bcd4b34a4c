"""What a tracker is: it shows a run's numbers somewhere else. The run's own record never depends on one.

A tracker that cannot start stops the run; one that fails later is switched off with one clear line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rlpipe.config.kinds import Artifacts, StoringTrackerConfig, TrackerConfig
from rlpipe.core.errors import Problem


@dataclass(frozen=True)
class RunIdentity:
    """How a run is known outside: stays the same over all its attempts."""

    id: str
    name: str
    run_dir: Path
    job_type: str
    """The method, or `stage` for a run that another run needs."""
    group: str | None = None
    tags: tuple[str, ...] = ()
    """Words to find the run by."""
    notes: str = ""
    """Where the run's folder and report are, and the command that makes it again."""


@dataclass(frozen=True)
class Artifact:
    """A folder of weights that a run has made."""

    name: str
    """The same wherever it is spoken of: `model-` or `checkpoint-` and the id of the run that made it."""
    kind: str
    """`model` or `checkpoint`."""
    folder: Path
    aliases: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    """Facts about it: the step, the run's name."""


class Tracker(ABC):
    """One destination. `start` first, `finish` last, the others in between in any order."""

    Config: ClassVar[type[TrackerConfig]] = TrackerConfig

    def __init__(self, config: TrackerConfig):
        self.config = config

    def problems(self) -> list[Problem]:
        """Return why it could not start, each at a field's name. Cheap: asks no server, imports nothing heavy."""
        return [] if all(self.config.tags) else [Problem("tags", "one of them is empty", "drop it")]

    @property
    def artifacts(self) -> Artifacts:
        """Which folders of weights it wants to `store`."""
        return self.config.artifacts if isinstance(self.config, StoringTrackerConfig) else Artifacts.none

    @abstractmethod
    def start(self, run: RunIdentity, config: dict[str, Any]) -> None:
        """Open the destination; a second attempt of the same run goes on under the same id."""

    def confirmed(self) -> int | None:
        """Return the last step that the destination has of earlier attempts (-1: none); None where nobody knows."""
        return None

    @abstractmethod
    def log(self, metrics: dict[str, float], step: int) -> None:
        """Show numbers of one optimiser step."""

    @abstractmethod
    def table(self, name: str, rows: Sequence[dict[str, Any]], step: int) -> None:
        """Show rows to read that belong to a step (samples)."""

    def evaluation(
        self, name: str, before: Sequence[dict[str, Any]] | None, after: Sequence[dict[str, Any]] | None, step: int
    ) -> None:
        """Show an evaluation's rows: those before training when they are there, then both (or the later alone)."""
        when, rows = ("before", before) if after is None else ("after", after)
        self.table(f"evaluations/{name}/{when}", rows or (), step)

    def starts_from(self, artifact: Artifact) -> None:
        """Show that the run starts from another run's model. Called where `artifacts` are wanted."""
        return None

    def store(self, artifact: Artifact) -> None:
        """Keep a folder of weights that this run has made; it may be deleted once this returns, a model not."""
        raise NotImplementedError(f"{type(self).__name__} has the field `artifacts` and keeps none")

    @abstractmethod
    def summary(self, metrics: Mapping[str, float | str | None]) -> None:
        """Show what the run ends with: its numbers (None for one that is none), status, error and cost."""

    @abstractmethod
    def finish(self, ok: bool) -> None:
        """Close the destination."""


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return a nested config as dotted keys with plain values, anything else as text."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found
