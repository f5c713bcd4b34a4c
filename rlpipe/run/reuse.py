"""Rows of a model before training: from the store where a run has measured the same before, measured anew elsewhere.

The same is: weights and tokenizer by their files' content, examples by theirs, the evaluation's settings and protocol,
how the model computes, the machine, the number of processes, and the numeric packages. So the rows are those that
measuring anew would give, bit for bit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from rlpipe.config import plugins
from rlpipe.core import distributed
from rlpipe.core.errors import RecordError
from rlpipe.core.files import Row
from rlpipe.core.paths import store_dir
from rlpipe.core.terminal import say_detail
from rlpipe.datasets.forms import Example
from rlpipe.evaluations import portions
from rlpipe.evaluations.base import Evaluation
from rlpipe.models.base import Loaded
from rlpipe.records.provenance import packages, plain
from rlpipe.records.record import Record
from rlpipe.stages import identity
from rlpipe.stages.measurements import Measurement, measurement

ELSEWHERE = ("source", "revision", "stage", "dataset_source", "parameters", "context", "learning_rate_scale")
"""Settings of a model that say where its weights come from, which their content names, or what others make of it."""


def before(name: str, evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded, record: Record) -> list[Row]:
    """Return an evaluation's rows before training, recorded; every process gets all of them, in order.

    What is taken from the store stands in the manifest as `reused`, what could not be taken or kept in its notes.
    """
    reused = record.may_write() and evaluation.config.reuse and _repeatable(evaluation, record)
    inputs = _inputs(evaluation, examples, loaded, record) if reused else {}
    kept = measurement(store_dir(record.config["store"]), inputs) if reused else None
    rows: list[Row] | None = distributed.broadcast(None if kept is None else _taken(name, kept, record))
    if rows is None:
        rows = portions.measure(name, evaluation, examples, loaded, "before", record)
        if kept is not None:
            try:
                kept.write(rows, record.run_dir, inputs)
            except RecordError as error:
                _note(f"evaluation {name} is not kept for other runs: {error.headline}", record)
    return rows


def _repeatable(evaluation: Evaluation, record: Record) -> bool:
    """Whether rows repeat by rlpipe's own code; that of another package may change without another version."""
    chosen = {"evaluation": evaluation.config.name, "model": record.config["model"]["name"]}
    return all(name in plugins.BUILT_IN[kind] for kind, name in chosen.items()) and evaluation.repeatable()


def _taken(name: str, kept: Measurement, record: Record) -> list[Row] | None:
    try:
        found = kept.read()
    except RecordError as error:
        _note(f"evaluation {name}: {error.headline}: measured again", record)
        return None
    if found is None:
        return None
    header, rows = found
    portions.record_all(name, "before", rows, record)
    source = {"measurement": kept.file.stem, "run": header["run"], "created": header["created"]}
    record.update(reused={f"{name}.before": source})
    say_detail(f"{name} before training: as {header['run']} has measured it ({kept.name})")
    return rows


def _inputs(evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded, record: Record) -> Row:
    """Return all that the rows of a repeatable evaluation depend on."""
    rows = json.dumps([dataclasses.asdict(example) for example in examples], sort_keys=True, default=repr)
    machine = record.manifest["attempts"][-1]["hardware"]
    model: dict[str, Any] = record.config["model"]
    touched = model["lora"]["rank"] > 0 or model["quantize"] != "none"  # trainers add adapters, and cast what is beside
    return {
        "weights": identity.weights(loaded.path, None),
        "model": {name: value for name, value in model.items() if name not in ELSEWHERE},
        "trainer": record.config["method"]["name"] if touched else None,
        "examples": hashlib.sha256(rows.encode()).hexdigest(),
        "evaluation": plain(dataclasses.replace(evaluation.config, reuse=True, required=True)),
        "protocol": plain(evaluation.protocol(loaded)),
        "engine": record.config["engine"],
        "hardware": {
            **record.config["hardware"],
            "device": loaded.model.device.type,
            "cpu": machine.get("cpu"),
            "gpus": machine.get("gpus"),
            "processes": distributed.world_size(),
        },
        "packages": packages(),
    }


def _note(note: str, record: Record) -> None:
    record.update(notes=[note])
    say_detail(note)
