"""What runs a method: a module that a method names by its `trainer` or `generator`, and what such a module is given."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from rlpipe.core.errors import PluginError
from rlpipe.datasets.base import Splits
from rlpipe.models.base import Loaded

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

    from rlpipe.config.resolved import Resolved
    from rlpipe.config.schema import RunConfig
    from rlpipe.core.signals import StopRequest
    from rlpipe.methods.base import Method
    from rlpipe.records.record import Record
    from rlpipe.trackers.base import Tracker
    from rlpipe.training.audit import Audit


@dataclass
class Parts:
    """Everything that a method may need to build its trainer."""

    resolved: Resolved
    """The run's config and plugins."""
    loaded: Loaded
    data: Splits
    """Examples already in the form that the method takes."""
    run_dir: Path
    callbacks: list[TrainerCallback] = field(default_factory=list)
    uses: ExitStack = field(default_factory=ExitStack)
    """What is used of the store until the run ends."""

    @property
    def config(self) -> RunConfig:
        """The run's config."""
        return self.resolved.config


@dataclass
class GenerationContext:
    """What making data may use of the run, beside its parts."""

    record: Record
    tracker: Tracker
    stop: StopRequest
    cost: dict[str, float]
    """What has been spent (`tokens`, `calls`): kept up to date, whatever ends the run."""


class DataGenerator(Protocol):
    """Makes the rows of a method whose product is data."""

    def generate(self, context: GenerationContext) -> dict[str, float]:
        """Write the rows to the run's `data/`, note their hashes as `data_files`, and return numbers about them.

        Goes on where an earlier attempt ended. Raises Stopped when asked to stop.
        """


class TrainerModule(Protocol):
    """A module that trains: what `Method.trainer` names."""

    def build(self, method: Any, parts: Parts) -> Trainer:
        """Build the trainer. Raises ConfigError and DataError."""

    def audit(self, trainer: Any, loaded: Loaded, method: Any) -> Audit:
        """Look at what the trainer will really feed the model; what is surely wrong stands in `errors`."""


class GeneratorModule(Protocol):
    """A module that makes rows: what `Method.generator` names."""

    def build(self, method: Any, parts: Parts) -> DataGenerator:
        """Prepare to make the rows. Raises DataError and ModelError."""


def trainer_module(method: Method) -> TrainerModule | None:
    """Return what trains a method, None where it trains nothing. Importing it imports torch. Raises PluginError."""
    return None if method.trainer is None else cast("TrainerModule", _module(method, method.trainer, "build", "audit"))


def generator_module(method: Method) -> GeneratorModule | None:
    """Return what makes the rows of a method, None where it makes none. Raises PluginError."""
    return None if method.generator is None else cast("GeneratorModule", _module(method, method.generator, "build"))


def _module(method: Method, name: str, *functions: str) -> Any:
    module = importlib.import_module(name)
    missing = [function for function in functions if not callable(getattr(module, function, None))]
    if missing:
        raise PluginError(
            f"method={method.config.name}",
            f"the module {name}, which runs it, has no {' and no '.join(missing)}",
            "give it build(method, parts) and audit(trainer, loaded, method), or name one of rlpipe.training",
        )
    return module
