"""Simple preference optimisation (arXiv:2405.14734)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.datasets.forms import Example, Preference
from rlpipe.methods.columns import Columns, concatenated
from rlpipe.methods.offline import OfflineMethod, SharedPromptConfig
from rlpipe.models.tokens import Tokens


@changing(Changes.result)
@dataclass
class SimPOConfig(SharedPromptConfig):
    """The scale and the margin."""

    learning_rate: float = 1e-6
    """The paper's range is 3e-7 to 1e-6 (section 4); it is the setting that matters most."""
    beta: float = setting(2.0, above=0, at_most=10**4, usual=(0.1, 20))
    """Scale of the length-averaged log-probabilities (the paper: 2.0 to 2.5; up to 10 for some instruct models)."""
    gamma_ratio: float = setting(0.5, at_least=0, at_most=1000, usual=(None, 2))
    """Target margin as a share of beta: gamma = gamma_ratio * beta (the paper: 0.3 to 0.8)."""


class SimPO(OfflineMethod):
    """Widens the margin between length-averaged log-probabilities; no reference model."""

    Config = SimPOConfig
    config: SimPOConfig
    takes = (Preference,)
    library = ("trl.experimental.cpo", "CPOConfig", "CPOTrainer")
    library_fields = {  # noqa: RUF012
        "beta": "beta",
        "simpo_gamma": "gamma_ratio",
        "loss_type": "name",
        "cpo_alpha": "name",
    }

    def columns(self, examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
        """Give two whole sequences with labels."""
        return concatenated(examples, tokens)

    def arguments(self) -> dict[str, Any]:
        """Return the library's arguments that this method sets."""
        config = self.config
        return {
            "loss_type": "simpo",
            "cpo_alpha": 0.0,
            "beta": config.beta,
            "simpo_gamma": config.gamma_ratio * config.beta,
        }
