"""What a method is: given the parts of a run, it builds the trainer that runs it.

To add a method: subclass `Method`, say which dataset forms it `takes`, put its own knobs into a
`Config`, and write `trainer`. 20 to 60 lines; everything else is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from rlpipe.config.kinds import Head, MethodConfig
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Form
from rlpipe.models.base import Loaded
from rlpipe.training.audit import Audit
from rlpipe.training.base import Maker, Parts

if TYPE_CHECKING:
    from transformers import Trainer

    from rlpipe.config.schema import RunConfig


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
