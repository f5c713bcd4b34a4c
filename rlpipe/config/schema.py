"""The typed shape of a run's config.

Only fields and their documentation live here: what a value may be is checked in `check`, and what a
plugin adds stands in that plugin's own `Config`. Nothing here imports torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from rlpipe.config.kinds import (
    DatasetConfig,
    EngineConfig,
    EnvironmentConfig,
    EvaluationConfig,
    MethodConfig,
    ModelConfig,
    RewardConfig,
    ToolConfig,
    TrackerConfig,
)
from rlpipe.config.settings import Changes, changing, setting


class Until(Enum):
    """Where a run stops."""

    check = "check"
    build = "build"
    train = "train"
    evaluate = "evaluate"


class Device(Enum):
    """Where tensors live."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Sharding(Enum):
    """What each of several processes holds of the model."""

    none = "none"
    """All of it: weights, gradients and the optimiser's moments."""
    fsdp2 = "fsdp2"
    """Its part of each (torch's `fully_shard`); weights are gathered block by block where they are used."""
    hybrid = "hybrid"
    """The same among the processes of one node; nodes hold the same and exchange gradients alone."""


@changing(Changes.run)
@dataclass
class HardwareConfig:
    """What the run computes on."""

    device: Device = setting(Device.auto, timed=True)
    """`auto` takes a GPU when there is one. Errors when `cuda` is asked for and absent."""
    threads: int = setting(1, at_least=1, at_most=4096, timed=True)
    """Torch threads of one process. Two can be slower than one for small models: measure before raising it."""
    sharding: Sharding = setting(Sharding.none, timed=True)
    """What each of several processes holds: `none` all of the model, `fsdp2` its share of weights, gradients and
    optimiser, `hybrid` its share among the processes of its node. For rlpipe's own trainers; results are those of
    `none` but for rounding."""


@changing(Changes.nothing)
@dataclass
class CheckpointConfig:
    """How often the state is saved, so that the run can go on after a kill."""

    every: int = setting(100, at_least=1, at_most=10**9)
    """Optimiser steps between two checkpoints."""
    keep: int = setting(2, at_least=2, at_most=10**6, usual=(None, 100))
    """How many whole checkpoints to keep; at least 2, so that a damaged newest one loses little."""


@changing(Changes.nothing)
@dataclass
class LogConfig:
    """What is shown and written while the run goes."""

    every: int = setting(10, at_least=1, at_most=10**9)
    """Optimiser steps between two rows of metrics.jsonl."""
    progress: bool = True
    """Show a progress bar (on a terminal; elsewhere one line at each log)."""
    libraries: bool = False
    """Also show the log lines and warnings of TRL, transformers, datasets and accelerate (log.txt always has them)."""


class Better(Enum):
    """Which way a watched number gets better."""

    auto = "auto"
    """Down for a loss or a perplexity, up for everything else."""
    max = "max"
    min = "min"

    def more_is_better(self, name: str) -> bool:
        """Whether more of a number of this name is better."""
        return self is Better.max or (self is Better.auto and usual(name) is not Better.min)


_LESS = re.compile(r"(^|/)loss$|perplexity")
_MORE = re.compile(r"(accuracy|margin|pass|reward|score|win_rate)[^/]*$")


def usual(name: str) -> Better:
    """Return which way a number of this name gets better; `auto` where its name does not say."""
    if _LESS.search(name):
        return Better.min
    return Better.max if _MORE.search(name) else Better.auto


@changing(Changes.rows)
@dataclass
class WatchConfig:
    """Measuring while training, on held-out rows that the final evaluation does not look at."""

    every: int | None = setting(None, at_least=1)
    """Optimiser steps between two measurements; also before the first step and after the last. Null: not at all."""
    evaluations: list[str] | None = None
    """Which of the run's evaluations are watched. Null: all that draw no completions, and accuracy on-policy."""
    limit: int = setting(48, at_least=1, unused_if="every=null")
    """Held-out rows that are watched: rows beyond `dataset.test_limit` first; where there are too few, the final
    evaluation gives some up. The weights are the same whether a run is watched or not."""
    metric: str | None = None
    """The number that decides which weights are best: `loss`, or `<evaluation>/<number>` (`accuracy/score`). Null: the
    first evaluation's score, else the loss."""
    mode: Better = Better.auto
    """Whether more of it is better, or less."""
    patience: int | None = setting(None, Changes.result, at_least=1)
    """Training ends after this many measurements in a row that brought nothing better. Null: never early."""
    restore_best: bool = setting(False, Changes.result)
    """Whether the run keeps the weights that measured best, in place of the last ones."""

    @property
    def decides(self) -> bool:
        """Whether what is watched changes the weights that the run ends with."""
        return self.every is not None and (self.patience is not None or self.restore_best)


@changing(Changes.result)
@dataclass
class RunConfig:
    """One run, resolved."""

    model: ModelConfig = MISSING
    """Whose weights."""
    dataset: DatasetConfig = MISSING
    """Which examples."""
    method: MethodConfig = MISSING
    """How it is trained."""
    reward: dict[str, RewardConfig] = field(default_factory=dict)
    """What completions earn (on-policy methods)."""
    tool: dict[str, ToolConfig] = field(default_factory=dict)
    """What completions may call."""
    environment: EnvironmentConfig | None = None
    """What answers completions, turn by turn; null: nothing, so that a completion is one turn."""
    engine: EngineConfig = MISSING
    """What draws completions: for training, evaluations and AI feedback."""
    evaluation: dict[str, EvaluationConfig] = setting(dict, Changes.rows)
    """What is measured before and after training."""
    tracker: TrackerConfig = setting(MISSING, Changes.nothing)
    """Where else the numbers are shown."""
    after: list[str] = setting(list, Changes.indirect)
    """The overrides of the run whose model this run starts from. It inherits model, dataset and seed unless it names
    its own, and `tool` where it learns from worked answers: the policy then knows how to call."""
    seed: int = setting(0, Changes.seed, at_least=0, below=2**32)
    """Decides all that is random: order of the rows, dropout, new weights, sampling."""
    until: Until = setting(Until.evaluate, Changes.nothing)
    """Stop after this stage; `until=check` is the dry run."""
    run_dir: str | None = setting(None, Changes.nothing)
    """The run's folder. Default: a fresh one under runs/. Name an unfinished run's folder to go on with it."""
    store: str | None = setting(None, Changes.nothing)
    """Where stages are kept and found again. Default: $RLPIPE_STORE, else ~/.cache/rlpipe/stages."""
    objective: str | None = setting(None, Changes.nothing)
    """The metric that a sweeper optimises, for example `after/preference/accuracy`."""
    hardware: HardwareConfig = setting(HardwareConfig, Changes.run)
    """Device, threads, and what several processes share."""
    checkpoint: CheckpointConfig = setting(CheckpointConfig, Changes.nothing)
    """How often the state is saved."""
    log: LogConfig = setting(LogConfig, Changes.nothing)
    """What is shown while it runs."""
    watch: WatchConfig = field(default_factory=WatchConfig)
    """What is measured while it trains, and what follows from that."""
