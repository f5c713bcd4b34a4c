"""A reward from a model that was trained to tell better answers from worse ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.config.kinds import Head
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Completion
from rlpipe.engines.frozen import FrozenModelConfig, load_for_reward, model_problems
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Reward, RewardContext

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout
    from rlpipe.models.base import Loaded


@dataclass
class RewardModelRewardConfig(FrozenModelConfig):
    """Which reward model."""


class RewardModelReward(Reward):
    """The number that a reward model gives to the conversation with the completion as its last turn.

    Text is laid out by the reward model's own chat template, whatever the policy's is.
    """

    Config = RewardModelRewardConfig
    config: RewardModelRewardConfig
    model_head = Head.reward
    loaded: Loaded

    def problems(self) -> list[Problem]:
        """Say where no reward model, or more than one, is named."""
        return model_problems(self.config, required=True)

    def start(self, context: RewardContext) -> None:
        """Load the reward model. Raises ModelError for one that is not to be had."""
        self.loaded = load_for_reward(
            self.config, context.config, context.policy, context.device, context.folder, Head.reward
        )

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score conversations in batches of similar length."""
        from rlpipe.engines.scoring import Span, span_rewards
        from rlpipe.models.tokens import tokenize

        conversations = [
            Completion(
                one.prompt.id, one.prompt.prompt, [{"role": "assistant", "content": one.text}], tools=one.prompt.tools
            )
            for one in rollouts
        ]
        tokens = tokenize(conversations, self.loaded.tokenizer)
        spans = [Span(one.prompt + answer, len(answer)) for one in tokens for answer in one.answers]
        return [Score(value) for value in span_rewards(self.loaded, spans, self.config.batch_tokens)]
