"""On-policy distillation: a teacher's opinion of every token that the policy writes (arXiv:2306.13649)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.engines.frozen import ReferenceConfig, reference_problems
from rlpipe.methods.online import OnlineConfig, OnlineMethod

if TYPE_CHECKING:
    from torch import Tensor

    from rlpipe.config.schema import RunConfig
    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.losses import Loss


@changing(Changes.result)
@dataclass
class DistillConfig(OnlineConfig):
    """Who teaches."""

    learning_rate: float = 1e-6
    """TRL's default."""
    group_size: int = 1
    """Every token is judged by itself, so that completions of a prompt need not be compared."""
    kl_coef: float = 0.0
    """The teacher is what the policy is drawn to; its own start holds it back only where this is above 0."""
    teacher: ReferenceConfig = setting(ReferenceConfig, Changes.indirect)
    """The model that is learnt from: it has the policy's vocabulary, and most often more weights."""


class Distill(OnlineMethod):
    """Lowers the KL from policy to teacher on the policy's own completions, token by token; no reward is needed."""

    Config = DistillConfig
    config: DistillConfig
    takes_reward = False
    has_teacher = True

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        found, teacher = super().problems(config), self.config.teacher
        if not teacher.given:
            what = "there is nobody to learn from"
            fix = "name a model or the run that makes one: method.teacher.model=…, method.teacher.stage=[method=sft,…]"
            found.append(Problem("method.teacher", what, fix))
        return found + reference_problems(teacher, used=True, moves=False, config=config, where="method.teacher")

    def advantages(self, batch: Batch) -> Tensor:
        """Give every token log π_teacher − log π: minus its share of the reverse KL, whose gradient follows (k1)."""
        assert batch.teacher is not None
        assert batch.old is not None
        return (batch.teacher - batch.old) * batch.written

    def policy_loss(self, tokens: Tokens) -> Loss:
        """Return the plain policy gradient's loss."""
        from rlpipe.methods.losses import policy_gradient

        return policy_gradient(tokens.logps, tokens.old, tokens.advantages, tokens.weights)
