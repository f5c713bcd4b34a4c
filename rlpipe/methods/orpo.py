"""Odds-ratio preference optimisation (arXiv:2403.07691)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.datasets.forms import Example, Preference
from rlpipe.methods.columns import Columns, concatenated
from rlpipe.methods.offline import OfflineMethod, SharedPromptConfig
from rlpipe.models.tokens import Tokens


@changing(Changes.result)
@dataclass
class ORPOConfig(SharedPromptConfig):
    """How the two terms weigh."""

    learning_rate: float = 8e-6
    """The paper's value for full fine-tuning (section C); TRL's LoRA example uses 8e-5."""
    weight: float = setting(0.1, at_least=0, at_most=10**4, usual=(None, 2))
    """Weight of the odds-ratio term beside the likelihood of the chosen sequence (the paper's lambda; 0.1 to 0.25)."""


class ORPO(OfflineMethod):
    """Supervised fine-tuning on the chosen sequence, prompt included, with an odds-ratio term; no reference model."""

    Config = ORPOConfig
    config: ORPOConfig
    takes = (Preference,)
    library = ("trl.experimental.orpo", "ORPOConfig", "ORPOTrainer")
    trains_chosen_prompt = True
    library_fields = {"beta": "weight"}  # noqa: RUF012

    def columns(self, examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
        """Give two whole sequences with labels."""
        return concatenated(examples, tokens)
