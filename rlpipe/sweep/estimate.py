"""What a run will take, before it is started: steps, memory, time. Estimates, each with its basis.

Time and memory come from finished runs of the same shape on the same kind of device, where the store or earlier sweeps
hold one: their seconds a step, what they took beside their steps, and the most memory. Else memory is that of a step's
tensors (`models/memory.py`), and time is counted: a training step takes about 6·P
floating-point operations a token (Kaplan et al., arXiv:2001.08361), 2·P more for a reference model, and 2·P for each
token that is scored or sampled. Rows are as long as the first of them; a processor is as fast as it multiplies matrices
of the model's shapes (`machine`). What small models add to that is measured in benchmarks/estimates.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.config.compose import to_plain
from rlpipe.config.relevance import timed
from rlpipe.config.schema import RunConfig, Until
from rlpipe.core.errors import RecordError
from rlpipe.core.files import first_row, json_text, last_row
from rlpipe.core.paths import store_dir
from rlpipe.core.shapes import misfit
from rlpipe.core.terminal import is_number
from rlpipe.datasets.forms import Preference
from rlpipe.methods.online import OnlineConfig
from rlpipe.methods.trl import TrlConfig
from rlpipe.records import history, manifest
from rlpipe.records.record import read_result
from rlpipe.run.check import capacity
from rlpipe.run.check.choices import measures
from rlpipe.run.check.subject import Subject
from rlpipe.stages.data import Data, data
from rlpipe.stages.lineage import parent_overrides
from rlpipe.sweep import machine
from rlpipe.sweep.lengths import Lengths, lengths

GPU = 1e14
"""Floating-point operations a second of a GPU of the A100's kind, at a third of its data sheet's (bfloat16)."""
REACHED = 0.6
"""Share of a bare matrix product's speed that a training step reaches on a processor."""
SAMPLED = 3.0
"""How many times as long a sampled token takes as a scored one: keys and values are moved, probabilities sorted."""
LAYER = {"cpu": 1.7e-3, "gpu": 3e-4}
"""Seconds that a layer takes for the next token of a batch, however small the layer is."""
FILLED = 0.5
"""Share of the longest completion that the mean one has."""
START = {"cpu": 12.0, "gpu": 25.0}
"""Seconds of importing, loading and writing."""
READING = 1.5e-3
"""Seconds of reading, cleaning and tokenising a row."""
TOGETHER = 64
"""Completions that are drawn at once."""

LOOKED_AT = 300
"""How many earlier runs are looked at, for the search must stay short."""


@dataclass(frozen=True)
class Time:
    """Estimated seconds of a run's training, and where the number comes from."""

    seconds: float
    basis: str
    bound: bool = False
    """Whether it is the most that it can be expected to take, for rows may be shorter than they are counted."""


@dataclass(frozen=True)
class Room:
    """Bytes that a run takes at its peak in one process."""

    size: int
    measured: bool
    """Whether an earlier run took that, all in all; else the tensors of a step are counted."""


@dataclass(frozen=True)
class Pace:
    """What an earlier run took."""

    step: float
    """Seconds of one optimiser step."""
    rest: float
    """Seconds of all else: loading, evaluating, writing."""
    memory: int | None = None
    """Bytes that it held at most; None where its record does not say."""


def steps(subject: Subject) -> int | None:
    """Return the optimiser steps of a run; None where its rows are not there yet. Rows that are too long still count.

    Raises DataError for rows that cannot be read.
    """
    config, method = subject.config, subject.config.method
    if not subject.trains or config.until is Until.build:
        return 0
    if method.max_steps is not None:
        return method.max_steps
    if "dataset.stage" in parent_overrides(config):
        return None
    rows = data(config).rows
    if isinstance(method, OnlineConfig):
        return int(method.epochs * (rows // method.prompts_per_batch * method.steps_per_batch))
    return math.ceil(method.epochs * math.ceil(rows / method.batch_size))


def memory(subject: Subject, earlier: Mapping[str, Pace], gpu: bool) -> Room | None:
    """Return what a run takes; None where nothing is trained or nothing is known. `earlier` is `pace`'s."""
    known = earlier.get(like(subject.config, gpu))
    if known is not None and known.memory is not None:
        return Room(known.memory, measured=True)
    counted = capacity.needed(subject)
    return None if counted is None else Room(counted.total, measured=False)


def time(subject: Subject, count: int | None, earlier: Mapping[str, Pace], gpu: bool) -> Time | None:
    """Return how long `count` steps of a run may take; None where too little is known. `earlier` is `pace`'s."""
    if count is None:
        return None
    config = subject.config
    key = like(config, gpu)
    if key in earlier:
        return Time(count * earlier[key].step + earlier[key].rest, "earlier runs of the same method and model")
    if subject.parameters is None or subject.method is None:
        return None
    device = "gpu" if gpu else "cpu"
    speed = GPU if gpu else _processor(subject) * max(1, config.hardware.threads)
    known = _lengths(subject)
    longest = config.method.max_length * (2 if Preference in subject.method.takes else 1)
    found = known or Lengths(longest, config.method.max_length / 2)
    passes = count * _step(subject, found, device, speed) + _once(subject, found, device, speed)
    rows = "rows like the first ones" if known else "full-length rows"
    what = "a GPU at 1e14" if gpu else f"{max(1, config.hardware.threads)} core at {speed:.2g}"
    basis = f"counted for {rows} on {what} operations a second"
    return Time(START[device] + passes, basis, bound=known is None)


def _step(subject: Subject, found: Lengths, device: str, speed: float) -> float:
    """Return the seconds of one optimiser step."""
    method, parameters = subject.config.method, subject.parameters or 0
    reference = 2.0 if getattr(subject.method, "needs_reference_model", False) else 0.0
    reference += 2 * capacity.teacher_parameters(subject) / max(1, parameters)
    if not isinstance(method, OnlineConfig | TrlConfig):
        return parameters * (6 + reference) * method.batch_size * found.whole / speed
    written = FILLED * method.sampling.max_tokens
    trained = (6 + 2 + reference) * method.batch_size * (found.prompt + written)
    drawn = _drawn(subject, method.batch_size, method.sampling.max_tokens, device, speed) / method.epochs_per_batch
    return parameters * trained / speed + drawn


def _once(subject: Subject, found: Lengths, device: str, speed: float) -> float:
    """Return the seconds of what is done once: reading rows, the reference's pass over them, and evaluations."""
    config, parameters = subject.config, subject.parameters or 0
    data = _data(subject)
    rows = data.rows if data is not None else 0
    held_out = data.held_out if data is not None else config.dataset.test_limit or 0
    precomputes = subject.trains and getattr(subject.method, "precomputes", False)
    seconds = READING * rows + (2 * parameters * rows * found.whole / speed if precomputes else 0.0)
    times = 2 if subject.trains and config.until is Until.evaluate else 1
    for evaluation in subject.evaluations.values():
        if not measures(subject, evaluation):
            continue
        count = min(held_out, evaluation.config.limit or held_out)
        drawn, longest = evaluation.drawn(config)
        scored = 2 * parameters * count * max(found.whole, found.prompt) / speed
        seconds += times * (_drawn(subject, drawn * count, longest, device, speed) if drawn else scored)
    return seconds


def _drawn(subject: Subject, count: int, longest: int, device: str, speed: float) -> float:
    """Return the seconds of drawing completions of at most so many tokens."""
    layers = subject.facts.layers if subject.facts is not None and subject.facts.layers else 16
    batches = -(-count // TOGETHER)
    tokens = count * FILLED * longest
    return batches * longest * layers * LAYER[device] + SAMPLED * 2 * (subject.parameters or 0) * tokens / speed


def _processor(subject: Subject) -> float:
    """Return what one core of this machine reaches, at the shapes of the model, as far as they are known."""
    facts = subject.facts
    width = facts.hidden_size if facts is not None and facts.hidden_size else 1024
    inner = facts.intermediate_size if facts is not None and facts.intermediate_size else 4 * width
    return REACHED * machine.operations(store_dir(subject.config.store), 256, width, inner)


def _lengths(subject: Subject) -> Lengths | None:
    data = _data(subject)
    return lengths(subject, data.first) if data is not None and data.first else None


def _data(subject: Subject) -> Data | None:
    """Return what is known of the rows, None where another run makes them, or they would have to be fetched."""
    config = subject.config
    if "dataset.stage" in parent_overrides(config) or subject.dataset is None or not subject.reads_data:
        return None
    if subject.dataset.config.source == "hub":
        return None
    return data(config)


def like(config: RunConfig | Mapping[str, Any], gpu: bool) -> str:
    """Return what two runs must have in common for one's pace to tell of the other's."""
    plain = dict(config) if isinstance(config, Mapping) else to_plain(config)
    return json_text([timed(plain), "gpu" if gpu else "cpu"])


def pace(store: Path, sweeps: Path) -> dict[str, Pace]:
    """Return the pace of finished stages and arms, by `like`; of several the newest counts."""
    found: dict[str, Pace] = {}
    manifests = [*store.glob(f"*/{manifest.FILE}"), *sweeps.glob(f"*/*/*/{manifest.FILE}")]
    newest = sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in itertools.islice(newest, LOOKED_AT):
        try:
            record, cost = manifest.read(path.parent), (read_result(path.parent) or {}).get("cost") or {}
            if record is None or not cost.get("steps") or not cost.get("seconds"):
                continue
            gpu = bool(record["attempts"][-1]["hardware"].get("gpus"))
            config = record["config"]
            if config["method"]["name"]:
                found.setdefault(like(config, gpu), _pace(path.with_name("metrics.jsonl"), cost))
        except (RecordError, KeyError, IndexError):
            continue  # another run's damaged or older record is no reason to stop this one
    return found


def _pace(metrics: Path, cost: Mapping[str, float]) -> Pace:
    """Return a run's pace between its first and last logged step, where it logged two."""
    first, last = first_row(metrics), last_row(metrics)
    step = cost["seconds"] / cost["steps"]
    whole = [row for row in (first, last) if row is not None and misfit(row, history.ROW) is None and "time" in row]
    if len(whole) == 2 and whole[1]["step"] > whole[0]["step"]:
        # An interrupted run's waiting lies between its steps too.
        seconds, steps = (whole[1][name] - whole[0][name] for name in ("time", "step"))
        step = min(step, seconds / steps)
    memory = int(cost["peak_memory"]) if is_number(cost.get("peak_memory")) else None
    return Pace(step, cost["seconds"] - step * cost["steps"], memory)
