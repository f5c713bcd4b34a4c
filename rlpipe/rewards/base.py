"""What a reward is: it scores finished rollouts.

To add a reward: subclass `Reward`, name the dataset columns that it reads, write `score`, and give
`cases`: completions with the score that they must get, which run before any training does. What scoring
needs beyond rollouts (a model, an open file) is made in `start`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rlpipe.config.kinds import Head, RewardConfig
from rlpipe.core.errors import Problem
from rlpipe.engines.rollout import Score

if TYPE_CHECKING:
    from pathlib import Path

    from rlpipe.config.schema import RunConfig
    from rlpipe.engines.rollout import Rollout
    from rlpipe.environments.episode import Turn
    from rlpipe.rewards.judge.pairwise import Choice, Pair


@dataclass(frozen=True)
class Case:
    """A completion that a reward must score as stated, before a run relies on it."""

    text: str
    columns: dict[str, Any]
    value: float
    parsed: bool = True
    turns: Sequence[Turn] | None = None
    """What an environment gave, where the completion is an episode."""


@dataclass(frozen=True)
class RewardContext:
    """What a reward may use of the run that it serves."""

    config: RunConfig
    policy: str
    """The folder of the weights that the policy starts from."""
    device: str
    """`cpu` or `cuda`."""
    folder: Path
    """A folder of the run for this reward alone; not made yet."""


def blank(value: Any) -> bool:
    """Return whether a column holds nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


class Reward(ABC):
    """One reward function."""

    Config: ClassVar[type[RewardConfig]] = RewardConfig
    columns: tuple[str, ...] = ()
    """The dataset columns that it reads from `rollout.prompt.columns`."""
    verifies: bool = False
    """Whether a value of 1 means a right answer, so that accuracy can be counted by it."""
    verifies_if: ClassVar[str] = ""
    """The setting of its own with which it verifies, where that depends on one."""
    fallible: ClassVar[bool] = False
    """Whether it goes by a model where it verifies, so that an exact verifier is counted beside it, if there is one."""
    reads_episode: ClassVar[bool] = False
    """Whether it reads what an environment gave (`rollout.turns`), so that there has to be one."""
    scores_beside: ClassVar[bool] = False
    """Whether it may score some completions in a thread while others are drawn, or the policy is trained: it needs no
    model on the run's device, and gives each completion what it would get with any others beside it."""
    parts: ClassVar[tuple[str, ...] | None] = None
    """The names that `Score.parts` may have; None leaves them open."""
    model_head: ClassVar[Head | None] = None
    """What the model that it scores with must end in, where it scores with one."""

    instead: ClassVar[dict[str, str]] = {}
    """What to do in place of setting a field that it does not have, by the field's name."""

    def __init__(self, config: RewardConfig):
        self.config = config

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings, each at its field's name. Cheap: imports nothing heavy."""
        return []

    def start(self, context: RewardContext) -> None:  # noqa: B027
        """Make what scoring needs, once, before the first score: load a model, open a cache."""

    @abstractmethod
    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score finished rollouts, one finite Score each, in order. An error that it raises stops the run."""

    def try_score(self, rollouts: Sequence[Rollout]) -> list[Score | None]:
        """Like `score`, for who can do without some: None where no score is to be had, as of a judge's odd reply."""
        return list(self.score(rollouts))

    @property
    def compares(self) -> bool:
        """Whether it can say which of two completions is better, besides scoring one."""
        return False

    def prefer(self, pairs: Sequence[Pair]) -> list[Choice | None]:
        """Say which of each pair is better, in the order shown; None where no usable answer is to be had."""
        raise NotImplementedError(f"{type(self).__name__} compares no completions")

    @property
    def calls(self) -> int:
        """Calls to a paid or slow service that the run has made, over all its attempts."""
        return 0

    def unscorable(self, columns: Mapping[str, Any]) -> str | None:
        """Say in a few general words why no completion can be scored with a prompt's columns; None where one can.

        Such prompts are dropped, and counted by these words, before anything is trained. Cheap: reads text, no more.
        """
        empty = (name for name in self.columns if name in columns and blank(columns[name]))
        return next((f"nothing in column '{name}'" for name in empty), None)

    def cases(self) -> Sequence[Case]:
        """Return gold, wrong and hostile completions with the scores that they must get."""
        return ()
