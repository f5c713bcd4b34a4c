"""Measure a model on examples before and after training, one row per example."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlpipe.config import plugins
from rlpipe.config.kinds import Head
from rlpipe.config.resolved import Resolved
from rlpipe.core import distributed
from rlpipe.core.files import json_text
from rlpipe.core.terminal import say, say_detail, show
from rlpipe.datasets.base import Split
from rlpipe.datasets.forms import Converter, Example, Prompt, apply, route, with_columns
from rlpipe.evaluations import portions
from rlpipe.evaluations.base import Evaluation, EvaluationContext, Row
from rlpipe.models.base import Loaded
from rlpipe.records.record import Record, When
from rlpipe.run import reuse
from rlpipe.trackers.base import Tracker

TABLE_ROWS = 100
"""Rows of an evaluation that a tracker is sent; the run's own folder has all."""


@dataclass(frozen=True)
class Planned:
    """An evaluation with the examples that it will look at."""

    name: str
    evaluation: Evaluation
    examples: Sequence[Example]
    dataset: Mapping[str, str] = field(default_factory=dict)
    """Which held-out rows they are; empty for an evaluation that brings its own."""


def plan(
    resolved: Resolved, head: Head, held_out: Split, record: Record, names: Collection[str] | None = None
) -> list[Planned]:
    """Return the evaluations, all or those of these names, that dataset and model allow.

    What is left out is said and recorded. A required evaluation that does not fit is the checks' business, long before
    this.
    """
    planned: list[Planned] = []
    left_out: list[str] = []
    unfit: list[str] = []
    for name, node in resolved.config.evaluation.items():
        if names is not None and name not in names:
            continue
        evaluation: Evaluation = resolved.make_evaluation(name)
        with plugins.blame("evaluation", node.name):
            fit, formless = _fit(name, evaluation, resolved, head, held_out, record)
        if isinstance(fit, str):
            unfit.append(name)
            left_out.append(f"evaluation {name} is left out: {fit}")
            continue
        planned.append(fit)
        if formless:
            note = f"evaluation {name} leaves {formless} held-out rows out: nothing in them to measure"
            left_out.append(note)
            say_detail(note)
    record.update(notes=left_out)
    if unfit:
        say_detail(f"not measured, for dataset or model does not allow it (manifest.json says why): {', '.join(unfit)}")
    return planned


def watched(resolved: Resolved) -> list[str]:
    """Return which evaluations are watched while training: those that are named, else those that draw no completions.

    A method that draws completions anyway has accuracy watched too.
    """
    if resolved.config.watch.evaluations is not None:
        return resolved.config.watch.evaluations
    chosen = {name: resolved.evaluation(name) for name in resolved.config.evaluation}
    draws = resolved.method.takes_reward
    return [name for name, one in chosen.items() if one.takes and (not one.draws or (draws and one.verifies))]


def _fit(
    name: str, evaluation: Evaluation, resolved: Resolved, head: Head, held_out: Split, record: Record
) -> tuple[Planned | str, int]:
    """Start an evaluation and give it its examples, or say why it is left out; also how many rows have none for it."""
    config = resolved.config
    context = EvaluationContext(config, record.run_dir, name)
    if head not in evaluation.heads:
        return f"it does not measure a model with a {head.value} head", 0
    if not evaluation.takes:
        if (unfit := evaluation.unfit(config, None)) is not None:
            return unfit.what, 0
        evaluation.start(context)
        return Planned(name, evaluation, evaluation.make_examples()), 0
    way = route(resolved.dataset.form, evaluation.takes)
    if way is None:
        return f"dataset {config.dataset.name} has no form for it", 0
    examples, formless = _examples(held_out, way[1], evaluation.config.limit)
    if not examples:
        return f"no held-out example of dataset {config.dataset.name} has anything to measure", 0
    if (unfit := evaluation.unfit(config, _columns(examples))) is not None:
        return unfit.what, 0
    evaluation.start(context)
    report = held_out.report
    rows = {"name": config.dataset.name, "split": report.split, "identity": report.identity}
    return Planned(name, evaluation, examples, rows), formless


def _examples(held_out: Split, steps: Sequence[Converter], limit: int | None) -> tuple[list[Example], int]:
    """Return the held-out rows in an evaluation's form, and how many have none (a conversation without an answer)."""
    made: list[Example] = []
    formless = 0
    for native, columns in zip(held_out.native, held_out.columns, strict=True):
        try:
            made += with_columns(apply(steps, native), columns) if steps else [native]
        except ValueError:
            formless += 1
    return made[:limit], formless


def _columns(examples: Sequence[Example]) -> Collection[str] | None:
    return list(examples[0].columns) if isinstance(examples[0], Prompt) else None


def measure(
    plans: Sequence[Planned],
    loaded: Loaded,
    when: When,
    record: Record,
    tracker: Tracker,
    step: int = 0,
    last: bool = True,
) -> dict[str, float]:
    """Run every evaluation and record its rows and its protocol; return `<when>/<evaluation>/<number>` for all.

    `when` is `before` or `after`, `step` the optimiser steps made, `last` whether nothing will be measured after
    this: then a person is shown what there is to see. After training there are also
    `change/<evaluation>/score`, `…/low` and `…/high`: the mean change of the examples' scores and its 95 %
    interval. Rows that an earlier attempt of the run has recorded are not measured again.
    """
    loaded = replace(loaded, scored={})  # by evaluations of the same texts under the same weights
    numbers: dict[str, float] = {}
    unsent = False
    for one in plans:
        with plugins.blame("evaluation", one.evaluation.config.name):
            rows = distributed.broadcast(record.evaluation(one.name, when))
            if new := rows is None:
                rows = _measured(one, loaded, when, record)
            one.evaluation.finish(rows, when)
            start = distributed.broadcast(record.evaluation(one.name, "before")) if when == "after" else None
            if new:
                unsent = True
                _track(tracker, one.name, rows, start, when, step)
            for key, value in one.evaluation.summary(rows, start).items():
                numbers[f"{when}/{one.name}/{key}"] = value
            _note([f"evaluation {one.name}: {note}" for note in one.evaluation.notes(rows)], record)
            if _alike(one, loaded, record) and start is not None:
                numbers |= {f"change/{one.name}/{key}": value for key, value in _change(one.name, start, rows).items()}
            if last and (shown := one.evaluation.render(rows, start)) is not None:
                show(shown)
    if unsent and distributed.is_main():
        tracker.log(numbers, step)
    return numbers


def _measured(one: Planned, loaded: Loaded, when: When, record: Record) -> Sequence[Row]:
    if when == "before":
        return reuse.before(one.name, one.evaluation, one.examples, loaded, record)
    return portions.measure(one.name, one.evaluation, one.examples, loaded, when, record)


def _track(
    tracker: Tracker, name: str, rows: Sequence[Row], start: Sequence[Row] | None, when: When, step: int
) -> None:
    """Show the first rows elsewhere too."""
    shown, earlier = rows[:TABLE_ROWS], None if start is None else start[:TABLE_ROWS]
    before, after = (shown, None) if when == "before" else (earlier, shown)
    tracker.evaluation(name, before, after, step)


def _alike(one: Planned, loaded: Loaded, record: Record) -> bool:
    """Record what the rows depend on beside the weights; say whether it is what an earlier measurement recorded."""
    name = f"evaluations/{one.name}.protocol.json"
    found: dict[str, Any] = {"dataset": one.dataset} if one.dataset else {}
    found |= one.evaluation.protocol(loaded)
    earlier = record.read(name)
    record.write(name, found)
    if earlier is None:
        return True
    now = json.loads(json_text(found))
    keys = [key for key in sorted(earlier | now) if earlier.get(key) != now.get(key)]
    if keys:
        what = f"{', '.join(keys)} differed between measurements, so its change means nothing"
        _note([f"evaluation {one.name}: {what}"], record)
    return not keys


def _note(notes: Sequence[str], record: Record) -> None:
    """Say something, and keep it in the record."""
    record.update(notes=notes)
    for note in notes:
        say_detail(note)


def _change(name: str, start: Sequence[Row], rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean change of the examples' scores with its 95 % interval, where they have scores."""
    from rlpipe.statistics import intervals

    before, after = ([row["score"] for row in one if "score" in row] for one in (start, rows))
    if not after:
        return {}
    if not all(isinstance(score, int | float) and math.isfinite(score) for score in [*before, *after]):
        say(f"evaluation {name}: some scores are no finite numbers, so its change has no interval")
        return {}
    found = intervals.change(before, after)
    return {"score": found.estimate, **found.ends()}
