"""What a method is: given the parts of a run, it builds the trainer that runs it.

To add a method: subclass `Method`, say which dataset forms it `takes`, put its own knobs into a
`Config`, and write `trainer`. 20 to 60 lines; everything else is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from omegaconf import MISSING

from rlpipe.core.errors import Problem
from rlpipe.datasets.base import Splits
from rlpipe.datasets.forms import Form
from rlpipe.models.base import Head, Loaded
from rlpipe.training.audit import Audit

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

    from rlpipe.config.schema import RunConfig
    from rlpipe.core.signals import StopRequest
    from rlpipe.records.record import Record
    from rlpipe.trackers.base import Tracker


@dataclass
class MethodConfig:
    """What every method can be told."""

    name: str = MISSING
    """The method plugin."""
    learning_rate: float = 1e-5
    """The highest learning rate of the schedule."""
    epochs: float = 1.0
    """Passes over the training examples; unused when `max_steps` is given."""
    max_steps: int | None = None
    """Optimiser steps; null trains for `epochs`."""
    batch_size: int = 32
    """Examples per optimiser step, over all devices and accumulation steps together."""
    max_length: int = 1024
    """Longest sequence in tokens, prompt and completion together."""
    schedule: str = "cosine"
    """The learning-rate schedule: any name that transformers knows (linear, cosine, constant_with_warmup …)."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay (arXiv:1711.05101)."""
    max_grad_norm: float = 1.0
    """Gradients of a larger norm are scaled down to it; 0 leaves them as they are."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the wrapped trainer's own config class, by their own names."""


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


class Method(ABC):
    """One training method."""

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    takes: ClassVar[tuple[Form, ...]]
    """The dataset forms that it trains on, the one that it likes best first; empty for a method that trains nothing."""
    head: ClassVar[Head] = Head.causal_lm
    makes: ClassVar[Literal["model", "data"] | None] = "model"
    """What a run leaves for others: a trained model (the run's `model/`), rows (its `data/`), or nothing."""
    takes_reward: ClassVar[bool] = False
    """Whether the objective uses `reward=…`."""
    takes_tool: ClassVar[bool] = False
    """Whether completions may call tools while training."""
    irrelevant: ClassVar[tuple[str, ...]] = ()
    """Fields of `Config` that do not change the resulting weights."""

    def __init__(self, config: MethodConfig):
        self.config = config

    @abstractmethod
    def trainer(self, parts: Parts) -> Trainer | None:
        """Build the trainer, or return None for a method that trains nothing."""

    def maker(self, parts: Parts) -> Maker:
        """Build what makes the rows of a method that `makes` data."""
        raise NotImplementedError(f"{type(self).__name__} makes no data")

    def problems(self, config: RunConfig) -> list[Problem]:
        """Return what is wrong with the settings taken together. Cheap: imports nothing heavy."""
        return []

    def audit(self, trainer: Trainer, loaded: Loaded) -> Audit:
        """Look at what the trainer will really feed the model; what is surely wrong stands in the report's `errors`.

        This one looks at the rows of a fixed dataset (`offline.audit`).
        """
        from rlpipe.training.offline.audit import audit

        return audit(trainer, loaded, self)

    @classmethod
    def library_config(cls) -> type | None:
        """Return the wrapped library's own config class, which validates `extra`; None where there is none.

        Called after the checks that need no heavy import.
        """
        return None
