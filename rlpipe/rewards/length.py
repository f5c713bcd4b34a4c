"""A reward for completions of about the wanted length: the simplest check that an objective is followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Case, Reward

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout


@changing(Changes.result)
@dataclass
class LengthConfig(RewardConfig):
    """The wanted length."""

    words: int = setting(30, at_least=1, at_most=10**7, usual=(None, 10**5))
    """The wanted number of words."""


class Length(Reward):
    """1 at the wanted number of words, falling linearly to 0 at none and at twice as many."""

    Config = LengthConfig
    config: LengthConfig

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score by the number of words that white space separates."""
        wanted = self.config.words
        return [Score(max(0.0, 1.0 - abs(len(one.text.split()) - wanted) / wanted)) for one in rollouts]

    def cases(self) -> Sequence[Case]:
        """Return completions of the wanted length, of none, and of twice as many words and more."""
        wanted = self.config.words
        texts = {"word " * wanted: 1.0, "": 0.0, "word\n" * (2 * wanted): 0.0, "word " * (9 * wanted): 0.0}
        return [Case(text, {}, value) for text, value in texts.items()]
