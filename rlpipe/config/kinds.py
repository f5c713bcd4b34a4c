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

    name: str = setting(MISSING, timed=True)
    """The method plugin."""
    learning_rate: float = setting(1e-5, above=0, at_most=1, usual=(1e-9, 0.02))
    """The highest learning rate of the schedule."""
    epochs: float = setting(1.0, above=0, at_most=1e6, usual=(None, 100), unused_if="max_steps!=null")
    """Passes over the training examples; unused when `max_steps` is given."""
    max_steps: int | None = setting(None, at_least=1, at_most=10**9, usual=(None, 10**6))
    """Optimiser steps; null trains for `epochs`."""
    batch_size: int = setting(32, at_least=1, at_most=10**6, usual=(None, 8192), timed=True)
    """Examples per optimiser step, over all devices and accumulation steps together."""
    max_length: int = setting(1024, at_least=2, at_most=10**8, usual=(16, 2**20), timed=True)
    """Longest sequence in tokens, prompt and completion together."""
    schedule: str = "cosine"
    """The learning-rate schedule: any name that transformers knows (linear, cosine, constant_with_warmup …)."""
    warmup: float = setting(0.1, at_least=0, below=1, usual=(None, 0.5))
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = setting(0.0, at_least=0, at_most=100, usual=(None, 1))
    """AdamW's decoupled weight decay (arXiv:1711.05101)."""
    max_grad_norm: float = setting(1.0, at_least=0, zero="no clipping", usual=(1e-3, 1000))
    """Gradients of a larger norm are scaled down to it; 0 leaves them as they are."""
    freeze: list[str] = field(default_factory=list)
    """Which weights train from which step, as a list of PART@STEP: `top:2@0` lets the two topmost layers, and what
    stands above them, train from the start, `*.layers.3.*@50` those of a pattern of names after 50 steps, `all@100` all
    after 100. The earliest step counts; what no part has never trains. Empty: all train from the start (gradual
    unfreezing, arXiv:1801.06146)."""
    layer_decay: float = setting(1.0, above=0, at_most=1, usual=(0.5, 1))
    """Each layer's learning rate as a share of that of the layer above it (arXiv:2003.10555); what stands above the
    topmost layer has the whole `learning_rate`. 1: all have."""
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

    rank: int = setting(0, at_least=0, zero="no adapters", at_most=2**16, usual=(None, 512), timed=True)
    """0 trains all weights; above 0 trains adapters of this rank."""
    alpha: float = setting(32.0, above=0, usual=(1, 4096), unused_if="rank=0")
    """The adapters' output is scaled by alpha / rank."""
    rslora: bool = setting(False, unused_if="rank=0")
    """Scale by alpha / √rank instead, so that adapters of a high rank learn as fast (arXiv:2312.03732)."""
    dora: bool = setting(False, unused_if="rank=0", timed=True)
    """Train the length of each output's weights apart from their direction, which the adapter turns (DoRA,
    arXiv:2402.09353): a little closer to training all weights, a step takes longer."""
    learning_rate_scale: float = setting(
        10.0, Changes.nothing, above=0, at_most=10**6, usual=(0.1, 100), unused_if="rank=0"
    )
    """Multiplies a method's own default rate where adapters train: they take about ten times larger steps than all
    weights. The rate that follows is what counts; a `method.learning_rate` that is given counts as it is."""
    dropout: float = setting(0.0, at_least=0, below=1, usual=(None, 0.5), unused_if="rank=0")
    """Share of the adapters' inputs that is dropped in training."""
    target_modules: list[str] = setting(lambda: ["all-linear"], unused_if="rank=0")
    """Names of the linear layers that get an adapter; `all-linear` takes all but the output head."""


@changing(Changes.result)
@dataclass
class ModelConfig:
    """The fields that every model has."""

    name: str = setting(MISSING, timed=True)
    """The model plugin: `pretrained` loads weights, `blank` makes them up."""
    source: str | None = setting(None, Changes.indirect, timed=True)
    """A hub id or a local folder; unused when `stage` is given."""
    revision: str | None = setting(None, Changes.indirect)
    """The hub's commit, tag or branch."""
    stage: list[str] = setting(list, Changes.indirect, timed=True)
    """The overrides of the run that makes this model's weights; it is built once, then reused."""
    dataset_source: str = setting("hub", Changes.indirect)
    """What `dataset.source` is unless the command line says otherwise: real models want `hub`, toys want `sample`."""
    precision: Precision = setting(Precision.float32, timed=True)
    quantize: Quantize = setting(Quantize.none, timed=True)
    lora: LoraConfig = field(default_factory=LoraConfig)
    chat_template: str | None = None
    """`chatml`, `plain` (text without roles: an answer follows its prompt after a space), or a Jinja file. Null: the
    model's own; a base model without one gets `chatml`, and the record says so."""
    learning_rate_scale: float = setting(1.0, Changes.indirect, above=0, at_most=10**6, usual=(1e-3, 1000))
    """Multiplies a method's own default rate, which is meant for models of a billion weights; small ones take larger
    steps. A `method.learning_rate` that is given counts as it is."""
    attention: str = setting("sdpa", timed=True)
    """transformers' attention implementation: sdpa, eager, flash_attention_2."""
    gradient_checkpointing: bool = setting(False, timed=True, rounding=True)
    """Recompute activations in the backward pass: about a third slower, far less memory."""
    parameters: int | None = setting(None, Changes.nothing, at_least=1, at_most=10**14)
    """Number of weights, for the memory estimate before anything is loaded (null: read from the local folder, else
    unknown)."""
    context: int | None = setting(None, Changes.nothing, at_least=2, at_most=10**9)
    """Longest sequence the model takes (null: read from the local folder, else unknown before loading)."""


class SystemMessages(Enum):
    """What becomes of the system messages of rows."""

    keep = "keep"
    """They stay; a chat template that refuses them ends the run with an error."""
    fold = "fold"
    """Each stands at the beginning of the user turn that follows it."""
    drop = "drop"
    """They are left out."""


@changing(Changes.result)
@dataclass
class DatasetConfig:
    """Where a dataset's rows come from, and how many are used."""

    name: str = setting(MISSING, timed=True)
    """The dataset plugin."""
    source: str = setting("${model.dataset_source}", Changes.indirect, timed=True)
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
    system: SystemMessages = SystemMessages.keep
    """What becomes of system messages, which some models' chat templates refuse."""
    train_split: str = "train"
    """The split to train on."""
    test_split: str | None = "test"
    """The held-out split; null holds out `test_fraction` of the train split."""
    test_fraction: float = setting(0.05, above=0, below=1, usual=(None, 0.5))
    """Held-out share where there is no test split; chosen by content, so never the same row in both."""
    train_limit: int | None = setting(None, at_least=1, at_most=10**12)
    """Train on at most this many rows: the first usable ones after a shuffle by seed, the same for every method."""
    test_limit: int | None = setting(256, Changes.rows, at_least=1, at_most=10**9)
    """Evaluate on at most this many rows: the first usable ones, the same ones for every method and seed."""
    deduplicate: bool = True
    """Drop repeated rows, and train rows that also stand in the test split; both are counted either way."""
    sample_size: int = setting(2000, at_least=1, at_most=10**8, usual=(None, 10**6))
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

    name: str = setting(MISSING, timed=True)
    """The tool plugin."""
    max_calls: int = setting(8, at_least=1, at_most=10**4, usual=(None, 100))
    """Calls that one completion may make; later ones get an error to read."""
    timeout: float = setting(1.0, above=0, at_most=86400, usual=(0.01, 600))
    """Seconds that one call may take; then the model reads an error."""
    protocol: ProtocolName = ProtocolName.auto
    """How calls and results are written; all tools of a run share one."""


@changing(Changes.result)
@dataclass
class EnvironmentConfig:
    """What every environment has."""

    name: str = setting(MISSING, timed=True)
    """The environment plugin."""
    max_turns: int = setting(10, at_least=1, at_most=10**4, usual=(None, 200), timed=True)
    """Turns that the model may take; an episode that is not over then counts as cut by length."""
    turn_tokens: int | None = setting(None, at_least=1, at_most=10**7, timed=True)
    """Longest turn in tokens; a longer one ends the episode, cut by length. Null: only `max_tokens`, which bounds the
    whole episode with all that the environment says."""
    seed: int = setting(0, at_least=0, below=2**32)
    """Decides, with the row, what is random in an episode: the same in every arm, whatever its seed."""


@changing(Changes.rows)
@dataclass
class EvaluationConfig:
    """What every evaluation can be told."""

    name: str = setting(MISSING, Changes.indirect)
    """The evaluation plugin."""
    limit: int | None = setting(None, Changes.indirect, at_least=1, at_most=10**9)
    """Look at no more than this many of the held-out examples (null: all that `dataset.test_limit` leaves)."""
    batch_tokens: int | None = setting(None, Changes.nothing, at_least=1, at_most=10**9, usual=(64, 2**22))
    """Tokens per forward pass, padding included; null: 2048 on a processor, 8192 on a GPU."""
    reuse: bool = setting(True, Changes.nothing)
    """Whether rows of before training are kept in the store, and taken from there where a run has measured the same
    weights, examples and settings on such a machine: the same rows, bit for bit. False measures anew."""
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
    run_name: str | None = None
    """How the run is called there. Null: by its method, dataset and folder; an arm has its number and overrides."""
    tags: list[str] = field(default_factory=list)
    """Words to find the run by, beside its method, dataset and experiment."""
    notes: str = ""
    """What to say about the run there; its folder, report and command are added."""


class Artifacts(Enum):
    """Which files a tracker is given, beside the numbers."""

    none = "none"
    model = "model"
    """The trained weights (the best ones, where `watch.restore_best` keeps them)."""
    checkpoints = "checkpoints"
    """Each checkpoint as it is written too, with the optimiser's state."""


@changing(Changes.nothing)
@dataclass
class StoringTrackerConfig(TrackerConfig):
    """What a tracker can be told that keeps files too."""

    artifacts: Artifacts = Artifacts.none
    """Which files are sent: `none`, `model`, or `checkpoints` as well."""


@changing(Changes.result)
@dataclass
class RewardConfig:
    """What every reward has."""

    name: str = setting(MISSING, timed=True)
    """The reward plugin."""
    weight: float = setting(1.0, finite=True, usual=(-1000, 1000))
    """Its share in the weighted sum of all rewards."""
