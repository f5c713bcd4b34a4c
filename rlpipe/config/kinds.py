"""The settings that every plugin of a kind has, whatever else it adds: the ground that schema and plugins stand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from rlpipe.config.settings import Changes, changing, setting


@changing(Changes.result)
@dataclass
class MethodConfig:
    """What every method can be told."""

    name: str = MISSING
    """The method plugin."""
    learning_rate: float = setting(1e-5, above=0)
    """The highest learning rate of the schedule."""
    epochs: float = setting(1.0, above=0)
    """Passes over the training examples; unused when `max_steps` is given."""
    max_steps: int | None = setting(None, at_least=1)
    """Optimiser steps; null trains for `epochs`."""
    batch_size: int = setting(32, at_least=1)
    """Examples per optimiser step, over all devices and accumulation steps together."""
    max_length: int = setting(1024, at_least=2)
    """Longest sequence in tokens, prompt and completion together."""
    schedule: str = "cosine"
    """The learning-rate schedule: any name that transformers knows (linear, cosine, constant_with_warmup …)."""
    warmup: float = setting(0.1, at_least=0, below=1)
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = setting(0.0, at_least=0)
    """AdamW's decoupled weight decay (arXiv:1711.05101)."""
    max_grad_norm: float = setting(1.0, at_least=0, zero="no clipping")
    """Gradients of a larger norm are scaled down to it; 0 leaves them as they are."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the wrapped trainer's own config class, by their own names."""


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


@changing(Changes.result)
@dataclass
class LoraConfig:
    """Low-rank adapters (arXiv:2106.09685)."""

    rank: int = setting(0, at_least=0, zero="no adapters")
    """0 trains all weights; above 0 trains adapters of this rank."""
    alpha: float = setting(32.0, above=0)
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = setting(0.0, at_least=0, below=1)
    """Share of the adapters' inputs that is dropped in training."""
    target_modules: list[str] = field(default_factory=lambda: ["all-linear"])
    """Names of the linear layers that get an adapter; `all-linear` takes all but the output head."""


@changing(Changes.result)
@dataclass
class ModelConfig:
    """The fields that every model has."""

    name: str = MISSING
    """The model plugin: `pretrained` loads weights, `blank` makes them up."""
    source: str | None = setting(None, Changes.indirect)
    """A hub id or a local folder; unused when `stage` is given."""
    revision: str | None = setting(None, Changes.indirect)
    """The hub's commit, tag or branch."""
    stage: list[str] = setting(list, Changes.indirect)
    """The overrides of the run that makes this model's weights; it is built once, then reused."""
    dataset_source: str = setting("hub", Changes.indirect)
    """What `dataset.source` is unless the command line says otherwise: real models want `hub`, toys want `sample`."""
    precision: Precision = Precision.float32
    quantize: Quantize = Quantize.none
    lora: LoraConfig = field(default_factory=LoraConfig)
    chat_template: str | None = None
    """`chatml`, or a Jinja file. Null keeps the model's own; a base model without one gets `chatml`, and the record
    says so."""
    learning_rate_scale: float = setting(1.0, Changes.indirect, above=0)
    """Multiplies a method's own default rate, which is meant for models of a billion weights; small ones take larger
    steps. A `method.learning_rate` that is given counts as it is."""
    attention: str = "sdpa"
    """transformers' attention implementation: sdpa, eager, flash_attention_2."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory."""
    parameters: int | None = setting(None, Changes.nothing, at_least=1)
    """Number of weights, for the memory estimate before anything is loaded (null: read from the local folder, else
    unknown)."""
    context: int | None = setting(None, Changes.nothing, at_least=2)
    """Longest sequence the model takes (null: read from the local folder, else unknown before loading)."""


@changing(Changes.result)
@dataclass
class DatasetConfig:
    """Where a dataset's rows come from, and how many are used."""

    name: str = MISSING
    """The dataset plugin."""
    source: str = setting("${model.dataset_source}", Changes.indirect)
    """`hub`, `sample` (rows made by rlpipe's own generator), or a local folder or file in the hub's columns."""
    stage: list[str] = setting(list, Changes.indirect)
    """The overrides of the run that makes the rows, in this dataset's columns; it is built once, then reused, and
    inherits model and `after` unless it names its own. Unused where `source` is a folder or file."""
    hub: str = ""
    """The hub id that `source=hub` reads."""
    subset: str | None = None
    """The hub's configuration name, where it has several."""
    revision: str | None = None
    """The hub's commit, tag or branch."""
    columns: dict[str, str] = field(default_factory=dict)
    """Columns that are called otherwise in the source: `{name that the dataset reads: name in the source}`."""
    train_split: str = "train"
    """The split to train on."""
    test_split: str | None = "test"
    """The held-out split; null holds out `test_fraction` of the train split."""
    test_fraction: float = setting(0.05, above=0, below=1)
    """Held-out share where there is no test split; chosen by content, so never the same row in both."""
    train_limit: int | None = setting(None, at_least=1)
    """Train on at most this many rows: the first usable ones after a shuffle by seed, the same for every method."""
    test_limit: int | None = setting(256, Changes.rows, at_least=1)
    """Evaluate on at most this many rows: the first usable ones, the same ones for every method and seed."""
    deduplicate: bool = True
    """Drop repeated rows, and train rows that also stand in the test split; both are counted either way."""
    sample_size: int = setting(2000, at_least=1)
    """How many rows the generator of `source=sample` makes for training (an eighth as many for testing)."""


class ProtocolName(Enum):
    """How a call and its result are written."""

    auto = "auto"
    """`chat` where the model's chat template writes tool calls as JSON between `<tool_call>` tags, else `text`."""
    chat = "chat"
    """The chat template's own tool turns."""
    text = "text"
    """Within a turn: `<calc>2 * 3</calc><result>6</result>`."""


@changing(Changes.result)
@dataclass
class ToolConfig:
    """What every tool has."""

    name: str = MISSING
    """The tool plugin."""
    max_calls: int = setting(8, at_least=1)
    """Calls that one completion may make; later ones get an error to read."""
    timeout: float = setting(1.0, above=0)
    """Seconds that one call may take; then the model reads an error."""
    protocol: ProtocolName = ProtocolName.auto
    """How calls and results are written; all tools of a run share one."""


@changing(Changes.rows)
@dataclass
class EvaluationConfig:
    """What every evaluation can be told."""

    name: str = setting(MISSING, Changes.indirect)
    """The evaluation plugin."""
    limit: int | None = setting(None, Changes.indirect, at_least=1)
    """Look at no more than this many of the held-out examples (null: all that `dataset.test_limit` leaves)."""
    batch_tokens: int = setting(8192, Changes.nothing, at_least=1)
    """Tokens per forward pass, padding included."""
    required: bool = setting(True, Changes.nothing)
    """False leaves it out, and says so, where dataset or model do not allow it; True makes that an error."""


@changing(Changes.nothing)
@dataclass
class EngineConfig:
    """What every engine has."""

    name: str = setting(MISSING, Changes.indirect)
    """The engine plugin. Another one draws other completions of the same distribution, up to rounding."""


@changing(Changes.nothing)
@dataclass
class TrackerConfig:
    """What every tracker can be told."""

    name: str = MISSING
    """The tracker plugin."""
    group: str | None = None
    """Runs of one group are shown together. Null: the runs of a sweep, else those of an experiment."""


@changing(Changes.result)
@dataclass
class RewardConfig:
    """What every reward has."""

    name: str = MISSING
    """The reward plugin."""
    weight: float = setting(1.0, finite=True)
    """Its share in the weighted sum of all rewards."""
