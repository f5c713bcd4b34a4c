"""What an engine is: it writes completions of token ids, by the rules of `rows.Endings`.

To add one: put its settings into a `Config`, and write `write`. An engine that has weights of its own says so by
`holds_weights` and writes `start`, `sync` and `close` too; then `freshness` measures after every sync whether what it
draws is what the policy would, and stops a run where it is not. Layout of prompts, tools, stop strings and records are
the same for all engines (`sampler.Sampler`). Importing an engine's module must not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rlpipe.config.kinds import EngineConfig
from rlpipe.core.errors import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from rlpipe.config.schema import RunConfig
    from rlpipe.engines.rollout import SamplingConfig
    from rlpipe.engines.rows import Endings, Row
    from rlpipe.models.base import Loaded


class Engine(ABC):
    """What draws a model's completions. `start` first, `close` last."""

    Config: ClassVar[type[EngineConfig]] = EngineConfig
    holds_weights: ClassVar[bool] = False
    """Whether it draws with weights of its own, which must be given the policy's; else it draws from the policy."""

    def __init__(self, config: EngineConfig):
        self.config = config

    def problems(self, config: RunConfig) -> list[Problem]:
        """Return what stands against drawing this run's completions, by dotted keys. Cheap: imports nothing heavy."""
        return []

    def start(self, loaded: Loaded, scratch: Path) -> None:  # noqa: B027
        """Get ready to draw from a model with the weights that stand in `loaded.path`.

        `scratch` is a folder of the engine's own, not there yet. Raises ModelError where it cannot be.
        """

    @abstractmethod
    def write(self, loaded: Loaded, rows: Sequence[Row], sampling: SamplingConfig, endings: Endings) -> None:
        """Write each row to its end: hand every token and its log-probability to `endings`, which says where that is.

        Log-probabilities are natural, those of the distribution that was drawn from: after temperature, top-k, top-p
        and min-p; 0 where tokens are greedy. What a row draws depends on its `seed`, `id` and `index`, and not on
        the rows beside it. Tokens that a row has to take (`Row.given`) are not drawn: any token may be handed over for
        them. Raises TrainingError for logits that are no numbers.
        """

    def sync(self, loaded: Loaded) -> None:  # noqa: B027
        """Take over the weights that the model has now; what was remembered of others is forgotten."""

    def wake(self) -> None:  # noqa: B027
        """Take the memory that drawing needs; called before every drawing."""

    def sleep(self) -> None:  # noqa: B027
        """Leave memory to the training; called after every drawing."""

    def close(self) -> None:  # noqa: B027
        """Let go of everything; called once, whatever has happened."""

    def notes(self, loaded: Loaded) -> list[str]:
        """Return what was decided about drawing, for the run's record. May import torch."""
        return []
