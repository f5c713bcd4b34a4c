"""Proximal policy optimisation (arXiv:1707.06347) as it is done for language models (arXiv:2403.17031)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.methods.online import ClippedConfig, OnlineMethod

if TYPE_CHECKING:
    from torch import Tensor

    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.losses import Loss


class ValueFrom(Enum):
    """What the value function stands on."""

    head = "head"
    """One linear layer on the policy's own hidden states: no second network."""
    model = "model"
    """A copy of the starting model with a linear layer on it, trained apart from the policy."""


@changing(Changes.result)
@dataclass
class PPOConfig(ClippedConfig):
    """The value function and what is made of it. Defaults are those of arXiv:2403.17031 unless said."""

    learning_rate: float = 3e-6
    epochs_per_batch: int = 4
    """Passes over each batch of rollouts."""
    gamma: float = setting(1.0, at_least=0, at_most=1, usual=(0.9, 1))
    """Discount of later rewards, per token."""
    lam: float = setting(0.95, at_least=0, at_most=1)
    """GAE's λ: 1 trusts sampled returns, 0 the value function (arXiv:1506.02438)."""
    whiten: bool = True
    """Shift and scale the batch's advantages to mean 0 and variance 1."""
    value: ValueFrom = setting(ValueFrom.model, timed=True)
    value_coef: float = setting(0.1, above=0, at_most=1000, usual=(0.01, 10))
    """Weight of the value loss beside the policy's."""
    value_clip: float | None = setting(0.2, above=0, at_most=1000, usual=(0.01, 10))
    """Values move at most this far from the old ones in the loss; null does not clip."""
    value_rate: float = setting(10.0, above=0, at_most=10**5, usual=(0.1, 1000))
    """Learning rate of the value weights that the policy does not share, in multiples of `learning_rate`: the new
    layer starts from 0. verl's critic rate is ten times its actor's."""


class PPO(OnlineMethod):
    """Learns a value function, and credits each token with what came out better than it expected."""

    Config = PPOConfig
    config: PPOConfig
    has_values = True

    @property
    def value_model(self) -> bool:
        """Whether the value function has a model of its own."""
        return self.config.value is ValueFrom.model

    def advantages(self, batch: Batch) -> Tensor:
        """Estimate advantages by GAE, and note the returns that values learn from."""
        from rlpipe.methods.advantages import generalised, whiten

        config = self.config
        assert batch.values is not None
        found, batch.returns = generalised(
            batch.token_rewards, batch.values, batch.written, batch.lengths, config.gamma, config.lam
        )
        return whiten(found, batch.written) if config.whiten else found

    def policy_loss(self, tokens: Tokens) -> Loss:
        """Clip the ratio of each token."""
        from rlpipe.methods.losses import clipped_tokens

        config = self.config
        return clipped_tokens(
            tokens.logps, tokens.old, tokens.advantages, tokens.weights, config.clip, config.clip_high
        )
