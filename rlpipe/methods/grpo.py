"""Group relative policy optimisation (arXiv:2402.03300), and its variants as settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.methods.online import Aggregate, ClippedConfig, KLEstimator, KLIn, OnlineMethod

if TYPE_CHECKING:
    from torch import Tensor

    from rlpipe.config.schema import RunConfig
    from rlpipe.engines.rollout import Rollout
    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.losses import Loss


class Normalise(Enum):
    """What is compared within a prompt's group."""

    total = "total"
    """The weighted sum of all rewards."""
    each = "each"
    """Each reward by itself, in units of its own deviation in the group; the weighted sum of these is then shifted and
    scaled over the batch. No reward drowns in another's spread (GDPO, arXiv:2601.05242)."""


class Scale(Enum):
    """Whose standard deviation divides the advantages."""

    group = "group"
    """That of the prompt's own completions (GRPO)."""
    batch = "batch"
    """That of all completions (arXiv:2508.08221)."""
    none = "none"
    """None's, so that hard and easy prompts are not weighed up (Dr. GRPO, arXiv:2503.20783)."""


class Ratio(Enum):
    """Of what the ratio of new to old probability is taken."""

    token = "token"
    """Each token."""
    sequence = "sequence"
    """The whole completion: the geometric mean of its tokens' ratios (GSPO, arXiv:2507.18071)."""


class Surrogate(Enum):
    """What clipping the ratio does."""

    ppo = "ppo"
    """Beyond the clip nothing more is gained, so that there is no gradient (arXiv:1707.06347)."""
    cispo = "cispo"
    """The clipped ratio weighs the gradient of the log-probability, so that no token is left out
    (arXiv:2506.13585)."""


@changing(Changes.result)
@dataclass
class GRPOConfig(ClippedConfig):
    """What the group's comparison looks like. Its relatives are options of their own (method=dapo, gspo, cispo …)."""

    learning_rate: float = 1e-6
    """The paper's (section 4.2) and TRL's default."""
    group_size: int = 8
    """TRL's default; the paper draws 64."""
    kl_coef: float = 0.04
    """The paper's (section 4.2); 0 is common since DAPO (arXiv:2503.14476)."""
    kl_in: KLIn = KLIn.loss
    kl_estimator: KLEstimator = KLEstimator.k3
    normalise: Normalise = Normalise.total
    scale: Scale = setting(Scale.group, unused_if="normalise=each")
    lengths: Aggregate = Aggregate.completion
    ratio: Ratio = Ratio.token
    surrogate: Surrogate = Surrogate.ppo
    clip: float = setting(0.2, above=0, at_most=1, usual=(1e-4, 1))
    clip_high: float | None = setting(None, above=0, at_most=1000, usual=(1e-4, 10))


class GRPO(OnlineMethod):
    """Compares each completion with its group's mean, in units of the group's standard deviation."""

    Config = GRPOConfig
    config: GRPOConfig
    smallest_group = 2

    @property
    def aggregate(self) -> Aggregate:
        """How completions of different lengths count."""
        return self.config.lengths

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        settings, found = self.config, super().problems(config)
        if settings.normalise is Normalise.each and settings.kl_in is KLIn.reward and settings.kl_coef > 0:
            what = "each reward is normalised by itself, and the KL would be left out"
            found.append(Problem("method.kl_in", what, "set method.kl_in=loss, or method.kl_coef=0"))
        if settings.normalise is Normalise.each and len(config.reward) == 1 and not settings.overlong_buffer:
            what = "there is one reward: its sum is itself, and scaling over the batch is all that is new"
            found.append(Problem("method.normalise", what, "leave it out, or give several rewards", fatal=False))
        if settings.ratio is Ratio.sequence and settings.lengths is not Aggregate.completion:
            what = f"long completions count more (method.lengths={settings.lengths.value}), and have one ratio each"
            found.append(Problem("method.ratio", what, "set method.lengths=completion, as GSPO does", fatal=False))
        return found

    def has_signal(self, group: Sequence[Rollout]) -> bool:
        """Whether a prompt's completions earned differently, by the sum or by any reward."""
        if self.config.normalise is Normalise.total:
            return super().has_signal(group)
        return any(len({one.scores[name].value for one in group}) > 1 for name in group[0].scores)

    def advantages(self, batch: Batch) -> Tensor:
        """Give every token its completion's normalised reward."""
        from rlpipe.methods.advantages import each_normalised, group_normalised, spread

        if self.config.normalise is Normalise.each:
            found = each_normalised(*batch.scores, batch.group_size)
        else:
            found = group_normalised(batch.totals, batch.group_size, self.config.scale.value)
        return spread(found, batch.lengths)

    def policy_loss(self, tokens: Tokens) -> Loss:
        """Clip the ratio of each token or completion, or the weight that it gives."""
        from rlpipe.methods.losses import clipped_ratios, clipped_weights, sequence_ratios

        config = self.config
        ratio = (tokens.logps - tokens.old).exp()
        if config.ratio is Ratio.sequence:
            ratio = sequence_ratios(tokens.logps, tokens.old, tokens.weights, tokens.rollout)
        given = (ratio, tokens.advantages, tokens.weights, config.clip, config.clip_high)
        return clipped_weights(tokens.logps, *given) if config.surrogate is Surrogate.cispo else clipped_ratios(*given)
