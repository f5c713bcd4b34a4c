"""Direct preference optimisation (arXiv:2305.18290) and the losses built on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem, guess
from rlpipe.datasets.forms import Example, Preference
from rlpipe.engines.frozen import ReferenceConfig, reference_problems
from rlpipe.methods.columns import Columns, pair
from rlpipe.methods.offline import OfflineMethod, SharedPromptConfig
from rlpipe.models.tokens import Tokens

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig

LOSSES = (
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
)
"""The losses of TRL's DPOTrainer (a test compares the list with TRL's)."""
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""The losses that read `label_smoothing`."""


@changing(Changes.result)
@dataclass
class DPOConfig(SharedPromptConfig):
    """The loss and the reference that it compares with."""

    learning_rate: float = 1e-6
    """TRL's default for full fine-tuning; the paper used 1e-6 too (appendix B), Zephyr 5e-7
    (arXiv:2310.16944)."""
    loss: str = "sigmoid"
    """sigmoid (the paper's), ipo, hinge, robust, exo_pair, nca_pair, bco_pair, sppo_hard, aot, aot_unpaired, apo_zero,
    apo_down, discopop, sft or sigmoid_norm."""
    beta: float = setting(0.1, above=0, at_most=10**4, usual=(1e-3, 10))
    """How closely the policy stays to the reference (the paper's value); tau in IPO. Larger is closer."""
    label_smoothing: float = setting(0.0, at_least=0, below=0.5)
    """For robust (0 to 0.5: how likely a label is flipped; its paper uses 0.1), exo_pair (1e-3) and aot."""
    reference_free: bool = False
    """Compare with a uniform reference in place of the starting model. TRL 1.16 has no such switch; its loss is
    given reference log-probabilities of 0, which is the same."""
    reference: ReferenceConfig = setting(ReferenceConfig, Changes.indirect)
    """The model that the policy is compared with; by default its own start."""
    precompute_reference: bool = setting(True, unused_if="reference_free=true", timed=True)
    """Compute the reference's log-probabilities once, before training, and keep them in the store for all runs that
    need the same. No second model is then in memory. False computes them at every step."""
    sync_reference: bool = False
    """Move the reference towards the policy while training (TR-DPO, arXiv:2404.09656); needs precompute_reference=false
    and all weights trained. `extra` sets ref_model_mixup_alpha and ref_model_sync_steps."""


class DPO(OfflineMethod):
    """Raises the likelihood of chosen over rejected completions, measured against the starting model."""

    Config = DPOConfig
    config: DPOConfig
    takes = (Preference,)
    library = ("trl", "DPOConfig", "DPOTrainer")
    has_reference = True
    library_fields = {  # noqa: RUF012
        "loss_type": "loss",
        "beta": "beta",
        "label_smoothing": "label_smoothing",
        "precompute_ref_log_probs": "precompute_reference",
        "sync_ref_model": "sync_reference",
    }

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        settings: DPOConfig = self.config
        found = []
        if settings.loss not in LOSSES:
            found.append(Problem("method.loss", f"there is no loss '{settings.loss}'", guess(settings.loss, LOSSES)))
        elif settings.label_smoothing and settings.loss not in SMOOTHED:
            fix = f"set it to 0, or use one of {', '.join(SMOOTHED)}"
            found.append(Problem("method.label_smoothing", f"the loss '{settings.loss}' does not use it", fix))
        if settings.loss == "exo_pair" and not settings.label_smoothing:
            fix = "set method.label_smoothing=1e-3, its paper's value"
            found.append(Problem("method.label_smoothing", "exo_pair is not defined at 0", fix))
        if settings.sync_reference and config.model.lora.rank > 0:
            fix = "set model.lora.rank=0, or method.sync_reference=false"
            found.append(Problem("method.sync_reference", "TRL cannot move the reference of adapters", fix))
        if settings.sync_reference and (settings.precompute_reference or settings.reference_free):
            fix = "set method.precompute_reference=false and method.reference_free=false"
            found.append(Problem("method.sync_reference", "a fixed reference cannot follow the policy", fix))
        found += reference_problems(settings.reference, not settings.reference_free, settings.sync_reference, config)
        return found

    @property
    def precomputes(self) -> bool:
        """Whether the reference's log-probabilities are computed once, before training."""
        return self.config.precompute_reference or self.config.reference_free

    @property
    def uses_reference(self) -> bool:
        """Whether a reference model is asked at all."""
        return not self.config.reference_free

    def columns(self, examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
        """Give the prompt and its two completions."""
        columns = pair(examples, tokens)
        if self.config.reference_free:
            columns["ref_chosen_logps"] = columns["ref_rejected_logps"] = [0.0] * len(tokens)
        return columns

    def arguments(self) -> dict[str, Any]:
        """Return the library's arguments that this method sets."""
        return {**super().arguments(), "loss_type": [self.config.loss], "precompute_ref_log_probs": self.precomputes}
