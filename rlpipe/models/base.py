"""What a model is: where its weights come from, how its text is laid out, and which weights are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from omegaconf import MISSING

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Precision(Enum):
    """How the numbers are kept and multiplied."""

    float32 = "float32"
    """Weights and arithmetic in float32."""
    bfloat16 = "bfloat16"
    """float32 weights, bfloat16 arithmetic (mixed precision). The right choice for full fine-tuning on a GPU."""
    pure_bfloat16 = "pure_bfloat16"
    """Weights in bfloat16 too: half the memory, but small updates get lost. For a frozen base under LoRA."""


class Quantize(Enum):
    """How frozen weights are kept."""

    """Whether the frozen base under LoRA is kept in fewer bits."""

    none = "none"
    nf4 = "nf4"
    """4-bit NormalFloat base under LoRA (QLoRA, arXiv:2305.14314). Needs a GPU and bitsandbytes."""


class Head(Enum):
    """What the network ends in."""

    causal_lm = "causal_lm"
    reward = "reward"
    """One number per sequence."""


@dataclass
class LoraConfig:
    """Low-rank adapters (arXiv:2106.09685)."""

    rank: int = 0
    """0 trains all weights; above 0 trains adapters of this rank."""
    alpha: float = 32.0
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = 0.0
    """Share of the adapters' inputs that is dropped in training."""
    target_modules: list[str] = field(default_factory=lambda: ["all-linear"])
    """Names of the linear layers that get an adapter; `all-linear` takes all but the output head."""


@dataclass
class ModelConfig:
    """The fields that every model has."""

    name: str = MISSING
    """The model plugin: `pretrained` loads weights, `blank` makes them up."""
    source: str | None = None
    """A hub id or a local folder; unused when `stage` is given."""
    revision: str | None = None
    """The hub's commit, tag or branch."""
    stage: list[str] = field(default_factory=list)
    """The overrides of the run that makes this model's weights; it is built once, then reused."""
    dataset_source: str = "hub"
    """What `dataset.source` is unless the command line says otherwise: real models want `hub`, toys want `sample`."""
    precision: Precision = Precision.float32
    quantize: Quantize = Quantize.none
    lora: LoraConfig = field(default_factory=LoraConfig)
    chat_template: str | None = None
    """`chatml`, or a Jinja file. Null keeps the model's own; a base model without one gets `chatml`, and the record
    says so."""
    learning_rate_scale: float = 1.0
    """Multiplies a method's own default rate, which is meant for models of a billion weights; small ones take larger
    steps. A `method.learning_rate` that is given counts as it is."""
    attention: str = "sdpa"
    """transformers' attention implementation: sdpa, eager, flash_attention_2."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory."""
    parameters: int | None = None
    """Number of weights, for the memory estimate before anything is loaded (null: read from the local folder, else
    unknown)."""
    context: int | None = None
    """Longest sequence the model takes (null: read from the local folder, else unknown before loading)."""


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


class Model(ABC):
    """One way of coming by a model."""

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    made_of: ClassVar[Path | None] = None
    """A folder of the plugin's own that a model without `source` is made of: stages are named by its content too."""

    def __init__(self, config: ModelConfig):
        self.config = config

    @abstractmethod
    def load(self, source: str | None, head: Head, seed: int, device: str, scratch: Path) -> Loaded:
        """Build the model with the given head.

        `source` is where the weights are (a stage's folder, or the config's own source), None for a
        model that makes up its weights (then `seed` decides them). `scratch` is a folder of the run that
        belongs to this model alone: where the weights in memory stand nowhere on disk (made up, or with
        embeddings for new tokens), they are written there, once, and `Loaded.path` names it; a resumed run
        finds it again. Raises ModelError.
        """
