"""Group relative policy optimisation (arXiv:2402.03300), and its variants as settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rlpipe.config.settings import Changes, changing
from rlpipe.methods.online import Aggregate, ClippedConfig, KLEstimator, KLIn, OnlineMethod

if TYPE_CHECKING:
    from torch import Tensor

    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.losses import Loss


class Scale(Enum):
    """Whose standard deviation divides the advantages."""

    group = "group"
    """That of the prompt's own completions (GRPO)."""
    batch = "batch"
    """That of all completions (arXiv:2508.08221)."""
    none = "none"
    """None's, so that hard and easy prompts are not weighed up (Dr. GRPO, arXiv:2503.20783)."""


@changing(Changes.result)
@dataclass
class GRPOConfig(ClippedConfig):
    """What the group's comparison looks like. Dr. GRPO and DAPO are options of their own (method=dr_grpo, dapo)."""

    learning_rate: float = 1e-6
    """The paper's (section 4.2) and TRL's default."""
    group_size: int = 8
    """TRL's default; the paper draws 64."""
    kl_coef: float = 0.04
    """The paper's (section 4.2); 0 is common since DAPO (arXiv:2503.14476)."""
    kl_in: KLIn = KLIn.loss
    kl_estimator: KLEstimator = KLEstimator.k3
    scale: Scale = Scale.group
    lengths: Aggregate = Aggregate.completion


class GRPO(OnlineMethod):
    """Compares each completion with its group's mean, in units of the group's standard deviation."""

    Config = GRPOConfig
    config: GRPOConfig
    smallest_group = 2

    @property
    def aggregate(self) -> Aggregate:
        """How completions of different lengths count."""
        return self.config.lengths

    def advantages(self, batch: Batch) -> Tensor:
        """Give every token its completion's normalised reward."""
        from rlpipe.methods.advantages import group_normalised, spread

        return spread(group_normalised(batch.totals, batch.group_size, self.config.scale.value), batch.lengths)

    def policy_loss(self, tokens: Tokens) -> Loss:
        """Clip the ratio of each token."""
        from rlpipe.methods.losses import clipped_tokens

        config = self.config
        return clipped_tokens(
            tokens.logps, tokens.old, tokens.advantages, tokens.weights, config.clip, config.clip_high
        )
