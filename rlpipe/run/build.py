"""From a checked config to the parts of a run: device, data, model, trainer. The first heavy import."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rlpipe.config import plugins
from rlpipe.config.resolved import Resolved, resolve
from rlpipe.config.schema import Device, RunConfig
from rlpipe.core import distributed
from rlpipe.core.errors import ConfigError, ModelError, Problem
from rlpipe.core.terminal import is_part, say, say_detail, show, show_problems
from rlpipe.datasets.base import LoadReport, Split, Splits
from rlpipe.datasets.forms import Completion
from rlpipe.datasets.load import Opened, opened, summed_up
from rlpipe.datasets.signal import weaknesses
from rlpipe.methods.base import Method
from rlpipe.models.base import Loaded
from rlpipe.records.record import Record
from rlpipe.records.rungs import current
from rlpipe.rewards.combine import unscorable, verified_columns
from rlpipe.run.memory import forget_peak
from rlpipe.stages import rows
from rlpipe.stages.identity import named
from rlpipe.stages.named import refuse_altered
from rlpipe.tools.tool_calls import with_calls
from rlpipe.training.base import DataGenerator, Parts, generator_module, trainer_module

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

    from rlpipe.run.rungs import JudgedAtRungs
    from rlpipe.run.watch import Watch


def hardware(config: RunConfig) -> str:
    """Set threads and determinism, and return `cpu` or `cuda`; the peak of memory counts from here on.

    Raises ModelError without the GPU that was asked for.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS sums in one order, so that runs repeat
    import torch
    from accelerate import PartialState

    torch.set_num_threads(config.hardware.threads)
    forget_peak()
    if config.hardware.device is Device.cuda and not torch.cuda.is_available():
        raise ModelError(
            "hardware.device",
            "cuda was asked for, and torch sees no GPU",
            f"install a CUDA build of torch (this is {torch.__version__}), or set hardware.device=cpu",
        )
    return str(PartialState(cpu=config.hardware.device is Device.cpu).device.type)


def data(resolved: Resolved, record: Record, made: Path | None = None) -> Splits:
    """Load the dataset in the form that the method takes, and record what loading did.

    `made` is the folder of the rows where another run makes them. Where nobody looks at rows, none are read.
    """
    if not resolved.reads_data:
        return Splits(*(Split([], LoadReport(split, "not read", "")) for split in ("train", "test")))
    if made is not None:
        there = dataclasses.replace(resolved.config.dataset, source=str(made))
        resolved = resolve(dataclasses.replace(resolved.config, dataset=there))
    config, dataset = resolved.config, resolved.dataset
    watched = config.watch.limit if config.watch.every is not None and resolved.trains else 0
    with plugins.blame("dataset", config.dataset.name):
        takes = resolved.method.takes or (dataset.form,)
        source = opened(dataset, takes, config.seed, train=bool(resolved.method.takes), validation=watched)
    splits, weak = rows.found(resolved, source, watched, record.run_dir, lambda: _found(resolved, source, watched))
    if any(problem.fatal for problem in weak):
        raise ConfigError([problem for problem in weak if problem.fatal])
    record.update(notes=[problem.headline for problem in weak])
    if dataset.config.source in ("hub", "sample"):  # of local rows the checks have told
        show_problems(weak)
    reports = [split.report for split in splits.there]
    record.update(data={report.split: vars(report) for report in reports})
    say_detail(summed_up(config.dataset.name, *reports))
    return splits


def _found(resolved: Resolved, source: Opened, watched: int) -> tuple[Splits, list[Problem]]:
    """Go through all rows; return those to use, and what they cannot teach."""
    config = resolved.config
    rewards = [resolved.reward(name) for name in config.reward]
    with plugins.blame("dataset", config.dataset.name):
        splits = source.choose(config.seed, unscorable(rewards), watched)
    if config.tool and isinstance(next(iter(splits.train.examples), None), Completion):
        splits.train = with_calls(splits.train, resolved.make_tools())
    return splits, weaknesses(splits.train.examples, splits.train.native, verified_columns(rewards))


def model(resolved: Resolved, source: Path | None, device: str, record: Record) -> Loaded:
    """Load or make the model with the head that the method needs, and record what was decided on the way."""
    from rlpipe.models import sharding

    config = resolved.config
    where = str(source) if source else config.model.source
    if source is None and where is not None and distributed.is_main():
        refuse_altered(where)
        record.update(start_model=named(where, config.model.revision))

    def load(place: str) -> Loaded:
        return resolved.model.load(where, resolved.method.head, config.seed, place, record.run_dir / "start")

    with plugins.blame("model", config.model.name), record.made_once("start"):
        is_sharded = sharding.wanted(config.hardware)
        loaded = sharding.load_on_main(lambda: load("cpu")) if is_sharded else load(device)
    record.update(notes=loaded.notes)
    if loaded.notes:
        say_detail(f"model: {'; '.join(loaded.notes)}")
    return loaded


def trainer(
    resolved: Resolved,
    loaded: Loaded,
    splits: Splits,
    record: Record,
    callbacks: Sequence[TrainerCallback],
    uses: ExitStack,
) -> Trainer | None:
    """Build the method's trainer and audit what it will feed the model; None for a method that trains nothing.

    What it uses of the store is let go when `uses` is closed. Raises ConfigError when the audit finds something that
    is surely wrong.
    """
    from transformers import set_seed

    from rlpipe.training.freezing import freeze

    method: Method = resolved.method
    set_seed(resolved.config.seed)
    module = trainer_module(method)
    if module is None:
        return None
    with plugins.blame("method", method.config.name), record.made_once("data"):
        built = module.build(method, Parts(resolved, loaded, splits, record.run_dir, list(callbacks), uses))
        thawing = freeze(built, method.config)
        found = module.audit(built, loaded, method)
        if thawing is not None:
            found.thawing, found.errors = thawing.lines(), [*found.errors, *thawing.problems(method.config.freeze)]
    record.write("audit.json", found.to_dict())
    show(found)
    if is_part():  # what is wrong is said in any case
        show_problems(found.warnings)
    if found.errors:
        raise ConfigError(found.errors)
    return built


def in_shards(loaded: Loaded, trainer: Trainer | None) -> Loaded:
    """Return the model as the trainer has cut it, with its adapters; one that is not in shards stays as it is."""
    if trainer is None or not loaded.sharded:
        return loaded
    return dataclasses.replace(loaded, model=trainer.accelerator.unwrap_model(trainer.model))


def watch(resolved: Resolved, loaded: Loaded, splits: Splits, record: Record, trainer: Trainer | None) -> Watch | None:
    """Have the training watched, where it is to be. Raises ConfigError for an evaluation that cannot be."""
    from rlpipe.run import evaluate
    from rlpipe.run.watch import Watch

    config = resolved.config.watch
    if trainer is None or splits.validation is None:
        return None
    names = evaluate.watched(resolved)
    plans = evaluate.plan(resolved, loaded.head, splits.validation, record, names)
    missing = sorted(set(config.evaluations or ()) - {one.name for one in plans})
    if missing:
        what = f"{', '.join(missing)} cannot look at the rows that are watched"
        raise ConfigError([Problem("watch.evaluations", what, "name others, or null for all that can")])
    watcher = Watch(config, plans, loaded, record, trainer)
    trainer.add_callback(watcher)
    return watcher


def judged(watch: Watch | None, record: Record, trainer: Trainer | None) -> JudgedAtRungs | None:
    """Have the run judged at the rungs of its sweep, where that has any."""
    from rlpipe.run.rungs import JudgedAtRungs

    rungs = current.get()
    if rungs is None or watch is None or trainer is None:
        return None
    judging = JudgedAtRungs(rungs, watch, record)
    trainer.add_callback(judging)
    return judging


def generator(resolved: Resolved, loaded: Loaded, splits: Splits, record: Record) -> DataGenerator | None:
    """Build what makes the run's rows; None for a method that makes none."""
    config, method = resolved.config, resolved.method
    module = generator_module(method)
    if module is None:
        return None
    if config.evaluation:
        note = f"evaluations are left out ({', '.join(config.evaluation)}): the run makes data and trains no model"
        record.update(notes=[note])
        say(note)
    with plugins.blame("method", config.method.name):
        return module.build(method, Parts(resolved, loaded, splits, record.run_dir))
