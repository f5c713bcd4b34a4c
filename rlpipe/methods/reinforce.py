"""REINFORCE with a batch baseline (Williams 1992; for language models arXiv:2402.14740, arXiv:2501.03262)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.config.settings import Changes, changing
from rlpipe.methods.online import Aggregate, OnlineConfig, OnlineMethod

if TYPE_CHECKING:
    from torch import Tensor

    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.losses import Loss


@changing(Changes.result)
@dataclass
class ReinforceConfig(OnlineConfig):
    """What the baseline and the scale are."""

    learning_rate: float = 1e-6
    """That of RLOO's paper, which compares the two (arXiv:2402.14740)."""
    whiten: bool = False
    """Divide advantages by the batch's standard deviation, as REINFORCE++ does (arXiv:2501.03262)."""
    lengths: Aggregate = Aggregate.sum


class Reinforce(OnlineMethod):
    """Compares each completion with the mean of the whole batch; nothing is clipped."""

    Config = ReinforceConfig
    config: ReinforceConfig

    @property
    def aggregate(self) -> Aggregate:
        """How completions of different lengths count."""
        return self.config.lengths

    def advantages(self, batch: Batch) -> Tensor:
        """Give every token its completion's reward less the batch's mean."""
        from rlpipe.methods.advantages import batch_baseline, spread, whiten

        totals = batch.totals
        found = whiten(totals, totals.isfinite()) if self.config.whiten else batch_baseline(totals)
        return spread(found, batch.lengths)

    def policy_loss(self, tokens: Tokens) -> Loss:
        """Return the plain policy gradient's loss."""
        from rlpipe.methods.losses import policy_gradient

        return policy_gradient(tokens.logps, tokens.old, tokens.advantages, tokens.weights)
