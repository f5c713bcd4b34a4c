"""TRL's GRPOTrainer: group normalisation with TRL's own sampling and training passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlpipe.config.settings import Changes, changing
from rlpipe.methods.trl import TrlConfig, TrlMethod


@changing(Changes.result)
@dataclass
class TrlGRPOConfig(TrlConfig):
    """What TRL's GRPOTrainer makes of groups."""

    group_size: int = 8
    """Completions of each prompt (TRL's default)."""
    kl_coef: float = 0.04
    """The paper's (arXiv:2402.03300, section 4.2); TRL's default is 0."""
    loss_type: str = "grpo"
    """How completions of different lengths count: grpo, dapo, dr_grpo, bnpo …; TRL's default is dapo."""
    scale_rewards: str = "group"
    """Whose standard deviation divides the advantages: group, batch or none."""


class TrlGRPO(TrlMethod):
    """GRPO as TRL trains it: the yardstick for `grpo`, and the way to vLLM (`extra.use_vllm`)."""

    Config = TrlGRPOConfig
    config: TrlGRPOConfig
    library = ("trl", "GRPOConfig", "GRPOTrainer")
    library_fields = {**TrlMethod.library_fields, "loss_type": "loss_type", "scale_rewards": "scale_rewards"}  # noqa: RUF012

    def arguments(self) -> dict[str, Any]:
        """Return the library's arguments that this method sets."""
        return {**super().arguments(), "loss_type": self.config.loss_type, "scale_rewards": self.config.scale_rewards}
