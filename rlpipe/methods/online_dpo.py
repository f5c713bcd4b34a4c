"""Online DPO (arXiv:2402.04792): DPO's loss on pairs of the policy's own completions, drawn for every batch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.methods.judging import judge_problems
from rlpipe.methods.online import Aggregate, OnlineConfig, OnlineMethod

if TYPE_CHECKING:
    from torch import Tensor

    from rlpipe.config.schema import RunConfig
    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.losses import Loss


class PairsBy(Enum):
    """What says which completion of a prompt is chosen, and which rejected."""

    reward = "reward"
    """The weighted sum of all rewards: the best of a group against the worst. Groups without a difference are left
    out."""
    comparison = "comparison"
    """A judge, which is shown both in both orders; where those disagree, there is no pair."""


class PairLoss(Enum):
    """What is made of a pair's margin."""

    sigmoid = "sigmoid"
    """DPO's (arXiv:2305.18290)."""
    ipo = "ipo"
    """IPO's, which stops at a margin of 1 / (2 · beta) (arXiv:2310.12036)."""


@changing(Changes.result)
@dataclass
class OnlineDPOConfig(OnlineConfig):
    """How pairs are made and what is learnt from them."""

    learning_rate: float = 5e-7
    """The paper's and TRL's default."""
    group_size: int = 2
    """The paper's: both completions are the pair. Of more, the best is set against the worst."""
    kl_coef: float = 0.0
    """The loss itself holds the policy close to the reference (`beta`)."""
    pairs: PairsBy = PairsBy.reward
    loss: PairLoss = PairLoss.sigmoid
    beta: float = setting(0.1, above=0, at_most=10**4, usual=(1e-3, 10))
    """How closely the policy stays to the reference (TRL's default). Larger is closer."""


class OnlineDPO(OnlineMethod):
    """Raises the likelihood of a prompt's better completion over the worse, both drawn from the policy itself."""

    Config = OnlineDPOConfig
    config: OnlineDPOConfig
    corrects = False
    smallest_group = 2
    whole_groups = True
    needs_reference_model = True

    @property
    def aggregate(self) -> Aggregate:
        """How completions of different lengths count."""
        return Aggregate.sum

    @property
    def compares(self) -> bool:
        """Whether a judge says which of two completions is better."""
        return self.config.pairs is PairsBy.comparison

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        settings, found = self.config, super().problems(config)
        if self.compares:
            found += judge_problems(config, "method.pairs=comparison", "method.pairs=reward")
            if settings.group_size > 2:
                what = f"a judge compares two completions, and each prompt has {settings.group_size}"
                found.append(Problem("method.group_size", what, "set 2, or method.pairs=reward"))
        return found

    def advantages(self, batch: Batch) -> Tensor:
        """Mark the tokens of chosen completions with 1, those of rejected ones with −1."""
        from rlpipe.methods.advantages import best_and_worst, spread

        return spread(best_and_worst(batch.totals, batch.group_size), batch.lengths)

    def policy_loss(self, tokens: Tokens) -> Loss:
        """Compare the margin of each pair with the reference's."""
        from rlpipe.methods.losses import preference

        config = self.config
        assert tokens.reference is not None
        given = (tokens.logps, tokens.reference, tokens.advantages, tokens.weights, tokens.rollout)
        return preference(*given, config.group_size, config.beta, config.loss is PairLoss.ipo)
