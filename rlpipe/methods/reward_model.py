"""A reward model from preferences: one number for each sequence (Bradley–Terry, arXiv:2203.02155)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlpipe.config.kinds import Head
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.datasets.forms import Example, Preference
from rlpipe.methods.columns import Columns, sequences
from rlpipe.methods.offline import OfflineMethod, SharedPromptConfig
from rlpipe.models.tokens import Tokens


@changing(Changes.result)
@dataclass
class RewardModelConfig(SharedPromptConfig):
    """How the reward is fitted."""

    learning_rate: float = 1e-5
    """TRL's reward example (1e-5 for all weights, 1e-4 for LoRA)."""
    center_rewards_coefficient: float | None = setting(None, at_least=0, at_most=1000, usual=(None, 1), zero="free")
    """Pulls the mean reward towards 0 (arXiv:2312.09244, which uses 0.01); null leaves it free."""


class RewardModel(OfflineMethod):
    """Gives the chosen sequence a higher number than the rejected one."""

    Config = RewardModelConfig
    config: RewardModelConfig
    takes = (Preference,)
    library = ("trl", "RewardConfig", "RewardTrainer")
    head = Head.reward
    library_fields = {"center_rewards_coefficient": "center_rewards_coefficient"}  # noqa: RUF012

    def columns(self, examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
        """Give two whole sequences."""
        return sequences(examples, tokens)
