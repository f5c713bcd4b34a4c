"""What an engine is: it writes completions of token ids, by the rules of `rows.Endings`.

To add one: put its settings into a `Config`, and write `write`. An engine that draws with weights of its own is a
`SeparateEngine` and says how it starts, takes over the policy's weights and ends; whether it does so is measured at
every synchronisation (`freshness`), and a run stops where it does not. Layout of prompts, tools, stop strings and
records are the same for all engines (`sampler.Sampler`). Importing an engine's module must not import torch.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rlpipe.config.kinds import EngineConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.engines.rollout import SamplingConfig
    from rlpipe.engines.rows import Endings, Row
    from rlpipe.models.base import Loaded


class Engine(ABC):
    """What draws a model's completions."""

    Config: ClassVar[type[EngineConfig]] = EngineConfig

    def __init__(self, config: EngineConfig):
        self.config = config

    def problems(self, config: RunConfig) -> list[Problem]:
        """Return what stands against drawing this run's completions, by dotted keys. Cheap: imports nothing heavy."""
        return []

    @abstractmethod
    def write(self, loaded: Loaded, rows: Sequence[Row], sampling: SamplingConfig, endings: Endings) -> None:
        """Write each row to its end: hand every token and its log-probability to `endings`, which says where that is.

        Log-probabilities are natural, those of the distribution that was drawn from: after temperature, top-k, top-p
        and min-p; 0 where tokens are greedy. What a row draws depends on its `seed`, `id` and `index`, and not on the
        rows beside it. Tokens that a row has to take (`Row.given`) are not drawn: any token may be handed over for
        them. Raises TrainingError for logits that are no numbers.
        """

    def policy_changed(self) -> None:  # noqa: B027
        """Know that the model may have other weights from now on."""

    def notes(self, loaded: Loaded) -> list[str]:
        """Return what was decided about drawing, for the run's record. May import torch."""
        return []


@changing(Changes.nothing)
@dataclass
class SeparateConfig(EngineConfig):
    """What every engine with weights of its own has."""

    max_gap: float | None = setting(None, above=0)
    """Stop the run where, after a synchronisation, log-probabilities of the engine and of the policy differ by more
    than this, a token in the mean. Null: 0.001 where both compute in float32, else 0.1."""


class SeparateEngine(Engine):
    """What draws with weights of its own, which must be the policy's: `start` first, `close` last, where it started."""

    Config: ClassVar[type[SeparateConfig]] = SeparateConfig
    config: SeparateConfig

    def __init__(self, config: EngineConfig):
        super().__init__(config)
        self.started = False
        self.outdated = True
        """Whether the policy may have other weights by now: then the next drawing begins with a synchronisation."""
        self.gap: Gap | None = None
        """How far from the policy the engine was after the last synchronisation."""
        self.recent: list[list[int]] = []
        """A few sequences that were drawn last, prompts included."""

    @property
    def draws_beside_training(self) -> bool:
        """Whether another thread may draw while the policy is trained: its weights and its device are its own."""
        return False

    @property
    def takes(self) -> float:
        """The share of the run's own GPU that it takes while it draws."""
        return 0.0

    @property
    def holds(self) -> float:
        """The share that it keeps while the policy is trained."""
        return self.takes

    def policy_changed(self) -> None:
        """Synchronise before the next drawing."""
        self.outdated = True

    @abstractmethod
    def start(self, loaded: Loaded) -> None:
        """Get ready to draw from a model with the weights that stand in `loaded.path`. Raises ModelError."""

    @abstractmethod
    def sync(self, loaded: Loaded) -> None:
        """Take over the weights that the model has now; forget all that was computed with others."""

    def wake(self) -> None:
        """Take the memory that drawing needs; called before every drawing."""

    def sleep(self) -> None:
        """Leave memory to the training; called after every drawing."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, whether it has started or not; called once, however the run ends."""


@dataclass(frozen=True)
class Gap:
    """How far apart the log-probabilities of engine and policy are, token by token (nats)."""

    mean: float
    """Mean distance."""
    largest: float
    engine: float
    """The engine's mean log-probability of the tokens."""
    policy: float
    """The policy's."""


@contextmanager
def drawn_by(engine: Engine, loaded: Loaded) -> Iterator[Loaded]:
    """Give a model what draws its completions, for the body; the engine starts when it first draws, and is closed."""
    try:
        yield dataclasses.replace(loaded, engine=engine)
    finally:
        if isinstance(engine, SeparateEngine):
            engine.close()
