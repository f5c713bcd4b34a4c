"""REINFORCE leave-one-out (arXiv:2402.14740)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rlpipe.config.settings import Changes, changing
from rlpipe.methods.online import Aggregate, ClippedConfig, OnlineMethod

if TYPE_CHECKING:
    from torch import Tensor

    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.losses import Loss


class Ratio(Enum):
    """Of what the ratio of new to old probability is taken, and clipped."""

    completion = "completion"
    """The whole completion, which the paper treats as one action; as in TRL's RLOOTrainer."""
    token = "token"
    """Each token, which bounds the step of long completions better."""


@changing(Changes.result)
@dataclass
class RLOOConfig(ClippedConfig):
    """What leave-one-out learns from."""

    learning_rate: float = 1e-6
    """The paper's and TRL's default."""
    kl_coef: float = 0.05
    """TRL's default; the paper uses 0.03 and 0.1."""
    ratio: Ratio = Ratio.completion


class RLOO(OnlineMethod):
    """Compares each completion with the mean of the prompt's others."""

    Config = RLOOConfig
    config: RLOOConfig
    smallest_group = 2

    @property
    def aggregate(self) -> Aggregate:
        """How completions of different lengths count."""
        return Aggregate.sum

    def advantages(self, batch: Batch) -> Tensor:
        """Give every token its completion's reward less the mean reward of the others."""
        from rlpipe.methods.advantages import leave_one_out, spread

        return spread(leave_one_out(batch.totals, batch.group_size), batch.lengths)

    def policy_loss(self, tokens: Tokens) -> Loss:
        """Clip the ratio of each completion, or of each token."""
        from rlpipe.methods.losses import clipped_completions, clipped_tokens

        config, given = self.config, (tokens.logps, tokens.old, tokens.advantages, tokens.weights)
        if config.ratio is Ratio.token:
            return clipped_tokens(*given, config.clip, config.clip_high)
        return clipped_completions(*given, tokens.rollout, config.clip, config.clip_high)
