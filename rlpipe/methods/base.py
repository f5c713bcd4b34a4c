"""What a method is: what it takes, what it makes of its settings, and who runs it. It knows no trainer itself.

To add a method: subclass `DPO`, `OfflineMethod` or `OnlineMethod`, put its own knobs into a `Config`, and write what
is new about it: a loss, an advantage, columns. 20 to 60 lines; everything else is the same for all.
"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, ClassVar, Literal

from rlpipe.config.kinds import Head, MethodConfig
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Form

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


class Method(ABC):
    """One training method."""

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    takes: ClassVar[tuple[Form, ...]]
    """The dataset forms that it trains on, the one that it likes best first; empty for a method that trains nothing."""
    trainer: ClassVar[str | None] = None
    """The module that runs the method (its `build` and `audit`, see `training.base`): `rlpipe.training.offline.build`,
    `rlpipe.training.online.build`, or one of your own; None for a method that trains nothing."""
    generator: ClassVar[str | None] = None
    """The module whose `build` makes the rows of a method that `makes` data."""
    head: ClassVar[Head] = Head.causal_lm
    makes: ClassVar[Literal["model", "data"] | None] = "model"
    """What a run leaves for others: a trained model (the run's `model/`), rows (its `data/`), or nothing."""
    takes_reward: ClassVar[bool] = False
    """Whether the objective uses `reward=…`."""
    takes_tool: ClassVar[bool] = False
    """Whether completions may call tools while training."""
    takes_environment: ClassVar[bool] = False
    """Whether completions may be episodes of an environment while training."""
    divided: ClassVar[str] = "sums are taken in another order, which is rounding, and dropout draws other numbers"
    """What is different where another number of processes goes on with a run, in words."""
    draws: ClassVar[bool] = False
    """Whether completions are drawn by the run's engine while it trains, or makes data."""

    def __init__(self, config: MethodConfig):
        self.config = config

    def problems(self, config: RunConfig) -> list[Problem]:
        """Return what is wrong with the settings taken together. Cheap: imports nothing heavy."""
        return []

    @classmethod
    def library_config(cls) -> type | None:
        """Return the wrapped library's own config class, which validates `extra`; None where there is none.

        Called after the checks that need no heavy import.
        """
        return None
