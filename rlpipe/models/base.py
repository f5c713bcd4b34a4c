"""What a model is: where its weights come from, how its text is laid out, and which weights are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from rlpipe.config.kinds import Head, ModelConfig
from rlpipe.core.errors import Problem
from rlpipe.hub.facts import Facts

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class Loaded:
    """A model with its tokenizer, ready for a trainer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    path: str
    """The folder that holds exactly these weights: trainers reload the reference model from it."""
    head: Head = Head.causal_lm
    autocast: bool = False
    """Whether arithmetic runs in bfloat16 over float32 weights (`precision=bfloat16`)."""
    notes: list[str] = field(default_factory=list)
    """What was decided on the way (template given, pad token reused, embeddings resized); goes into the manifest."""
    peft: Any = None
    """The peft.LoraConfig for the trainer to apply, or None for full fine-tuning."""
    sharded: bool = False
    """Whether each process holds a part of the weights (`models.sharding`): then all must call the model alike."""
    engine: Any = None
    """The `Engine` that draws its completions; None where the model itself does, with default settings."""


class Model(ABC):
    """One way of coming by a model."""

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    made_of: ClassVar[Path | None] = None
    """A folder of the plugin's own that a model without `source` is made of: stages are named by its content too."""

    def __init__(self, config: ModelConfig):
        self.config = config

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings, each at its field's name. Cheap: imports nothing heavy."""
        return []

    def facts(self) -> Facts | None:
        """Return what is known of the model before it is loaded or made, None for nothing. Raises ModelError."""
        return None

    @abstractmethod
    def load(self, source: str | None, head: Head, seed: int, device: str, scratch: Path) -> Loaded:
        """Build the model with the given head.

        `source` is where the weights are (a stage's folder, or the config's own source), None for a
        model that makes up its weights (then `seed` decides them). `scratch` is a folder of the run that
        belongs to this model alone: where the weights in memory stand nowhere on disk (made up, or with
        embeddings for new tokens), they are written there, once, and `Loaded.path` names it; a resumed run
        finds it again. Raises ModelError.
        """
