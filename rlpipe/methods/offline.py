"""The base of every method on fixed data: how tokens become columns, and which settings are which of TRL's.

To add one: say which forms it `takes`, which fields of its `Config` are which of the library's
(`own`), how tokens become columns (`columns`), and where TRL has its trainer (`library`). The rest is shared.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from rlpipe.config.kinds import MethodConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core import distributed
from rlpipe.datasets.forms import Example
from rlpipe.methods.columns import Columns
from rlpipe.methods.cutting import micro_batches
from rlpipe.methods.library import LibraryMethod
from rlpipe.models.tokens import Tokens


class Overlong(Enum):
    """What to do with examples of more than `max_length` tokens."""

    drop = "drop"
    truncate = "truncate"


@changing(Changes.result)
@dataclass
class OfflineConfig(MethodConfig):
    """What every method on fixed data can be told."""

    micro_batch_size: int = setting(8, at_least=1, at_most=10**5, usual=(None, 1024), timed=True, rounding=True)
    """Examples per forward pass on one device; accumulation makes up the rest of `batch_size`. Where none is named: the
    largest up to 8 that `batch_size` can be made up of."""
    overlong: Overlong = Overlong.drop
    """`drop` leaves longer examples out and counts them; `truncate` cuts their end off."""
    group_by_length: bool = setting(True, timed=True)
    """Batch examples of similar length, so that little is padded; order still changes with seed and epoch."""


@changing(Changes.result)
@dataclass
class SharedPromptConfig(OfflineConfig):
    """What methods can be told whose examples have prompts in common."""

    share_prompt: bool = setting(True, Changes.run, timed=True)
    """Let completions of one prompt go through the network in one row, the prompt once: chosen and rejected of a pair,
    where that is less work and the model takes such rows. Another value changes results by rounding alone, and which
    random numbers dropout draws."""


class OfflineMethod(LibraryMethod):
    """A method whose trainer is one of TRL's, on examples that do not change while it trains."""

    Config: ClassVar[type[OfflineConfig]] = OfflineConfig
    config: OfflineConfig
    trainer = "rlpipe.training.offline.build"

    has_reference: ClassVar[bool] = False
    """Whether the objective compares the policy with a reference model."""
    trains_chosen_prompt: ClassVar[bool] = False
    """Whether the likelihood of the chosen sequence's prompt is part of the loss, whatever the labels say."""
    in_order: ClassVar[bool] = False
    """Whether rows of a micro-batch, two or more, belong together: they are shuffled once, never grouped by length."""

    def last_batch(self, rows: int) -> list[int]:
        """Return the micro-batches of all processes that the last rows of an epoch make, which fill no batch."""
        least = 2 if self.in_order else 1
        return micro_batches(rows, self.config.micro_batch_size, distributed.world_size(), least)

    @abstractmethod
    def columns(self, examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
        """Lay tokens out as the trainer's columns."""

    @property
    def marks_speaker(self) -> bool:
        """Whether it matters which tokens of a conversation the assistant wrote."""
        return True

    @property
    def packs(self) -> bool:
        """Whether several examples share a row, so that the trainer makes rows of its own."""
        return False

    @property
    def shares_prompt(self) -> bool:
        """Whether completions of one prompt may share a row."""
        return isinstance(self.config, SharedPromptConfig) and self.config.share_prompt

    @property
    def precomputes(self) -> bool:
        """Whether the reference's log-probabilities are computed once, before training."""
        return False

    @property
    def uses_reference(self) -> bool:
        """Whether a reference model is asked at all, in every step or once before."""
        return self.has_reference

    @property
    def needs_reference_model(self) -> bool:
        """Whether a reference model takes part in every step."""
        return self.has_reference and not self.precomputes
