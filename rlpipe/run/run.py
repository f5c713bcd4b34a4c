"""A run, from a composed config to its record: reads as a recipe.

check → record → stages → build → audit → measure → train → measure → finish

A run whose method makes data has one step in place of those from measure to measure: make.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config import plugins
from rlpipe.config.compose import to_plain
from rlpipe.config.options import chosen_options, named_options
from rlpipe.config.relevance import differing
from rlpipe.config.resolved import Resolved, resolve
from rlpipe.config.schema import Device, RunConfig, Until
from rlpipe.core import distributed
from rlpipe.core.errors import Pruned, RlpipeError, Stopped, guess
from rlpipe.core.signals import Interrupted, StopRequest, stop_requests
from rlpipe.core.terminal import show_problems
from rlpipe.engines.base import drawn_by
from rlpipe.records.lease import held
from rlpipe.records.record import Record, Status
from rlpipe.run.check.check import check
from rlpipe.run.memory import out_of_memory, peak_memory
from rlpipe.run.summary import show_checked, show_finished, summary
from rlpipe.training.base import GenerationContext
from rlpipe.training.tracking import store_model, track, untrack

if TYPE_CHECKING:
    from rlpipe.records.lease import Lease
    from rlpipe.stages.fingerprint import Stage
    from rlpipe.trackers.guarded import Guarded


@dataclass
class Outcome:
    """How far a run has come: kept up to date, so that the record can be closed at any exit."""

    reached: Until = Until.check
    doing: str = "beginning"
    """What the run was at when it was asked to stop, in words."""
    metrics: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    tracker: Guarded | None = None
    """Closed after the record, so that it can show all that the record says."""


def run(
    config: RunConfig, overrides: Sequence[str] = (), stage: Stage | None = None, lease: Lease | None = None
) -> float | None:
    """Run a config and return the metric that `objective` names (None without one).

    `overrides` are those of the command line; `stage` is given when another run needs this one, with the
    `lease` of its folder where the caller has it already. Raises RlpipeError for what the user can fix and
    Stopped when the run was asked to stop and can go on; the record is complete at every exit.
    """
    resolved = resolve(config)
    if stage is None:  # else the run that needs it has checked it, with what its own command line allows
        show_problems(check(config, overrides))
    if config.until is Until.check:
        show_checked(resolved)
        return None
    distributed.start(on_cpu=config.hardware.device is Device.cpu)
    # A stage's folder is named by its fingerprint: what else differs makes no difference.
    same_run = differing if stage is None else lambda old, new: []
    chosen = chosen_options(config, overrides) if stage is None else named_options(stage.overrides)
    record = Record.open(
        run_dir(config), to_plain(config), choices=chosen, overrides=overrides, lease=lease, same_run=same_run
    )
    if distributed.broadcast(record.finished):
        _show_finished(record)
    else:
        _attempt(resolved, record, stage)
    return _objective(config, record)


def _attempt(resolved: Resolved, record: Record, stage: Stage | None) -> None:
    config, outcome = resolved.config, Outcome()
    with stop_requests(at_once=True) as stop, _recorded(config, record, outcome, stage, stop), ExitStack() as context:
        from rlpipe.core import logs
        from rlpipe.run import build, evaluate
        from rlpipe.stages.store import parents
        from rlpipe.training import train as training

        outcome.doing = "preparing its stages and its data"
        needed = context.enter_context(parents(config, record, stage, run))
        splits = build.data(resolved, record, needed.rows())
        source = needed.start()
        context.enter_context(logs.quiet(record.log_file, config.log.libraries))
        outcome.doing = "loading the model"
        device = build.hardware(config)
        loaded = build.model(resolved, source, device, record)
        loaded = context.enter_context(drawn_by(resolved.make_engine(), loaded))
        checkpoint = training.resume_point(record, resolved.method)
        tracker = outcome.tracker = track(resolved, record, stage is not None, loaded.path)
        callbacks = training.standard_callbacks(config, record, tracker, stop)
        outcome.doing = "preparing the trainer"
        trainer = build.trainer(resolved, loaded, splits, record, callbacks, context)
        loaded = build.in_shards(loaded, trainer)
        watch = build.watch(resolved, loaded, splits, record, trainer)
        judged = build.judged(watch, record, trainer) if stage is None else None
        generator = build.generator(resolved, loaded, splits, record)
        outcome.reached = Until.build
        if config.until is Until.build:
            return

        if generator is not None:
            outcome.doing = "making data"
            with plugins.blame("method", config.method.name):
                outcome.metrics |= generator.generate(GenerationContext(record, tracker, stop, outcome.cost))
            outcome.reached = Until.evaluate
            return
        outcome.doing = "measuring"
        plans = evaluate.plan(resolved, loaded.head, splits.test, record)
        outcome.metrics |= evaluate.measure(plans, loaded, "before", record, tracker, last=trainer is None)
        if trainer is None:
            outcome.reached = Until.evaluate
            return
        outcome.doing = "training"
        with stop.deferred(together=True):
            training.train(trainer, checkpoint, config, record, outcome.cost)
        if judged is not None:
            judged.leave_if_pruned()
        outcome.doing = "saving the model"
        if watch is not None:
            watch.restore()
            outcome.metrics |= watch.summary()
        loaded = training.keep(trainer, loaded, config, record)
        store_model(tracker, record, best=watch is not None and config.watch.restore_best)
        outcome.reached = Until.train
        if config.until is Until.train:
            return

        outcome.doing = "measuring the trained model"
        outcome.metrics |= evaluate.measure(plans, loaded, "after", record, tracker, int(outcome.cost["steps"]))
        outcome.reached = Until.evaluate


@contextmanager
def _recorded(
    config: RunConfig, record: Record, outcome: Outcome, stage: Stage | None, stop: StopRequest
) -> Iterator[None]:
    """Close the record at every exit, and show how the run ended (a stage's run leaves that to the one that asked)."""

    def finish(status: Status, error: BaseException | None = None) -> None:
        reached, metrics = outcome.reached.value, outcome.metrics
        cost = {**outcome.cost, "peak_memory": peak_memory()}
        try:
            with stop.deferred():
                record.finish(status, reached, metrics=metrics, cost=cost, error=error, hold=True)
        finally:
            if outcome.tracker is not None:
                untrack(outcome.tracker, record, outcome.metrics)
        from rlpipe.report.page.at_end import write_run

        if status is not Status.stopped:
            outcome.doing = f"writing the report of a run that ended {status.value}"
        if (result := record.result) is not None and record.held:
            write_run(record.run_dir, record.log_file)
            if stage is None:
                summary(record.run_dir, result, record.manifest)

    try:
        try:
            yield
        except Pruned:
            finish(Status.pruned)
            raise
        except (Stopped, KeyboardInterrupt):
            finish(Status.stopped)
            raise
        except BaseException as error:
            failure = out_of_memory(error, config, outcome.doing) or error
            finish(Status.failed, failure)
            raise failure from failure.__cause__
        finish(Status.ok)
    except Interrupted as interrupted:
        what = f"stopped while {outcome.doing}; what was saved so far is kept"
        raise Stopped("", what, "the same command, given the same run_dir, goes on") from interrupted
    finally:
        record.close()


def _show_finished(record: Record) -> None:
    """Say that the folder's run has ended well already; its report is written where a stop kept it from being."""
    from rlpipe.report.page.at_end import NAME, write_run

    page, result = record.run_dir / NAME, record.run_dir / "result.json"
    if distributed.is_main() and not (page.exists() and page.stat().st_mtime_ns >= result.stat().st_mtime_ns):
        with held(record.run_dir, "writing its report"):
            write_run(record.run_dir, record.log_file)
    show_finished(record)


def run_dir(config: RunConfig) -> Path:
    """Return the run's folder: the named one, a sweep's folder for this arm, or a fresh one under runs/."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if config.run_dir is not None:
        return Path(config.run_dir).expanduser()
    if HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN:
        return Path(HydraConfig.get().runtime.output_dir)
    return Path(distributed.broadcast(datetime.now().strftime("runs/%Y-%m-%d/%H-%M-%S-%f")))


def _objective(config: RunConfig, record: Record) -> float | None:
    """Return the metric that a sweeper asked for. Raises RlpipeError for one that the run does not have."""
    if config.objective is None or not distributed.is_main():
        return None
    metrics: Mapping[str, Any] = (record.result or {}).get("metrics", {})
    if metrics.get(config.objective) is None:
        raise RlpipeError("objective", f"the run has no metric '{config.objective}'", guess(config.objective, metrics))
    return float(metrics[config.objective])
