"""Kahneman–Tversky optimisation (arXiv:2402.01306)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Example, Labelled
from rlpipe.engines.frozen import ReferenceConfig, reference_problems
from rlpipe.methods.columns import Columns, labelled
from rlpipe.methods.offline import OfflineMethod, SharedPromptConfig
from rlpipe.models.tokens import Tokens

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


@changing(Changes.result)
@dataclass
class KTOConfig(SharedPromptConfig):
    """How good and bad completions weigh."""

    learning_rate: float = 1e-6
    """TRL's default; the paper used 5e-7 (section 4.2) and its authors advise 5e-7 to 5e-6."""
    group_by_length: bool = False
    """Must stay off: which rows meet in a micro-batch is part of the KL estimate."""
    micro_batch_size: int = setting(8, rounding=False)
    """Examples per forward pass on one device, 2 or more: part of the objective, see above."""
    beta: float = setting(0.1, above=0, at_most=10**4, usual=(1e-3, 10))
    """How closely the policy stays to the reference (the paper's value). Larger is closer."""
    desirable_weight: float = setting(1.0, at_least=0, at_most=10**4, usual=(0.1, 10))
    """Weight of good completions."""
    undesirable_weight: float = setting(1.0, at_least=0, at_most=10**4, usual=(0.1, 10))
    """Weight of bad completions. With n good and m bad ones the paper wants
    desirable_weight * n / (undesirable_weight * m) between 1 and 4/3 (equation 8 of the paper)."""
    reference: ReferenceConfig = setting(ReferenceConfig, Changes.indirect)
    """The model that the policy is compared with; by default its own start."""
    precompute_reference: bool = setting(True, timed=True)
    """Compute the reference's log-probabilities once, before training, and keep them in the store for all runs that
    need the same. No second model is then in memory."""


class KTO(OfflineMethod):
    """Learns from single completions, each good or bad.

    The KL term is estimated from mismatched pairs within a micro-batch, so micro_batch_size (2 or
    more) is part of the objective, and so is the number of processes: its estimate is their mean.
    Rows are shuffled once; later epochs reorder whole batches. One that would be alone in a micro-batch is left out.
    """

    Config = KTOConfig
    config: KTOConfig
    takes = (Labelled,)
    library = ("trl", "KTOConfig", "KTOTrainer")
    has_reference = True
    in_order = True
    divided = f"the KL term is estimated from other pairs, {OfflineMethod.divided}"
    library_fields = {  # noqa: RUF012
        "beta": "beta",
        "desirable_weight": "desirable_weight",
        "undesirable_weight": "undesirable_weight",
        "precompute_ref_log_probs": "precompute_reference",
    }

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        found = reference_problems(self.config.reference, used=True, moves=False, config=config)
        if self.config.desirable_weight == self.config.undesirable_weight == 0:
            what = "neither good nor bad completions have a weight, so nothing can be learnt"
            found.append(Problem("method.desirable_weight", what, "give one of them a weight (1 is usual)"))
        if self.config.micro_batch_size < 2:
            what = "the KL term needs another row of the same micro-batch"
            found.append(Problem("method.micro_batch_size", what, "set 2 or more (8 is usual)"))
        if self.config.group_by_length:
            what = "rows of one length in a micro-batch would bias the KL estimate"
            found.append(Problem("method.group_by_length", what, "set method.group_by_length=false"))
        return found

    @property
    def precomputes(self) -> bool:
        """Whether the reference's log-probabilities are computed once, before training."""
        return self.config.precompute_reference

    def columns(self, examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
        """Give prompt, completion, label and another row's completion."""
        whole = len(tokens) // self.config.batch_size * self.config.batch_size
        size = self.config.micro_batch_size
        return labelled(examples, tokens, [size] * (whole // size) + self.last_batch(len(tokens) - whole))
