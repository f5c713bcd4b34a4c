"""Supervised fine-tuning: the model learns to write what the examples say."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from rlpipe.config.resolved import resolve
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import PluginError, Problem
from rlpipe.datasets.forms import Chat, Completion, Example, Text
from rlpipe.methods.columns import Columns, language
from rlpipe.methods.offline import OfflineConfig, OfflineMethod
from rlpipe.models.tokens import Tokens

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


class TrainOn(Enum):
    """Which tokens carry the loss."""

    completion = "completion"
    """What the assistant says, its end of turn included."""
    conversation = "conversation"
    """Every token, the prompt's too."""


class Packing(Enum):
    """Whether several examples share one row of `max_length` tokens (then there is no length to group rows by)."""

    none = "none"
    bfd = "bfd"
    """Whole examples, best fit first (arXiv:2404.10830); each sees only itself."""
    wrapped = "wrapped"
    """One long text cut into rows: no padding at all, but examples are cut and see their neighbours."""


@changing(Changes.result)
@dataclass
class SFTConfig(OfflineConfig):
    """What and how supervised fine-tuning trains."""

    learning_rate: float = 2e-5
    """TRL's default for full fine-tuning; its examples take 2e-4 for LoRA."""
    train_on: TrainOn = TrainOn.completion
    packing: Packing = setting(Packing.none, timed=True)
    padding_free: bool = setting(False, timed=True)
    """Lay a micro-batch out as one row without padding. Meant for flash_attention_2; elsewhere batching by
    length saves more."""


class SFT(OfflineMethod):
    """Trains on conversations, on prompts with completions, or on plain text (all of it)."""

    Config = SFTConfig
    config: SFTConfig
    takes = (Chat, Completion, Text)
    takes_tool = True
    library = ("trl", "SFTConfig", "SFTTrainer")
    library_fields = {  # noqa: RUF012
        "packing": "packing",
        "packing_strategy": "packing",
        "padding_free": "padding_free",
        "completion_only_loss": "train_on",
        "assistant_only_loss": "train_on",
    }

    @property
    def marks_speaker(self) -> bool:
        """Whether only what the assistant wrote is trained."""
        return self.config.train_on is TrainOn.completion

    def problems(self, config: RunConfig) -> list[Problem]:
        """Say where a tool would be ignored: calls are made of what prompts with worked solutions do by hand."""
        problems = super().problems(config)
        with contextlib.suppress(PluginError):  # `run.check.fitting.usable` says why
            if config.tool and resolve(config).dataset.form is not Completion:
                fix = "choose dataset=warmstart or gsm8k, or drop tool=…"
                problems.append(Problem("tool", f"{config.dataset.name} holds no prompts with worked solutions", fix))
        return problems

    @property
    def packs(self) -> bool:
        """Whether several examples share a row."""
        return self.config.packing is not Packing.none

    def columns(self, examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
        """Give tokens and labels."""
        return language(examples, tokens, whole=self.config.train_on is TrainOn.conversation)

    def arguments(self) -> dict[str, Any]:
        """Return the library's arguments that this method sets."""
        packed = {"packing": True, "packing_strategy": self.config.packing.value} if self.packs else {}
        # Rows are cut already, and TRL refuses padding-free rows with a `max_length` that it would not apply.
        uncut = {"padding_free": True, "max_length": None} if self.config.padding_free and not self.packs else {}
        return {**packed, **uncut}
