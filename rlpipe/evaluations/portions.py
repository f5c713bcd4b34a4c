"""Measuring examples portion by portion: shown as it goes on, and never twice where a run was interrupted.

Finished portions are kept in `evaluations/<name>.<when>.jsonl.part` until all are there, a line each: where it begins,
the ids of its examples, and their rows. Portions begin at fixed places, so that an interrupted measurement ends with
the rows that it would have had; a line that is out of place, twice or of other examples ends what is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlpipe.core import distributed
from rlpipe.core.errors import PluginError
from rlpipe.core.files import append, explained, json_line, parse_lines, remove, write_lines
from rlpipe.core.progress import Counting
from rlpipe.core.signals import heed
from rlpipe.datasets.forms import Example
from rlpipe.evaluations.base import Evaluation, Row
from rlpipe.models.base import Loaded
from rlpipe.records.record import Record, When


def measure(
    name: str, evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded, when: When, record: Record
) -> list[Row]:
    """Measure examples, each process its share, and record the rows; every process gets all of them, in order."""
    kept = record.run_dir / "evaluations" / f"{name}.{when}.jsonl.part"
    size = len(examples) if evaluation.whole else evaluation.portion
    rows: list[Row] = distributed.broadcast(_begun(kept, examples, size) if record.may_write() else None)
    shown = bool(record.config["log"]["progress"])
    with Counting(f"{name} {when}", len(examples), done=len(rows), enabled=shown) as progress:
        while len(rows) < len(examples):
            new = _portion(name, evaluation, examples[len(rows) : len(rows) + size], loaded)
            rows += new
            if len(rows) < len(examples) and record.may_write():
                append(kept, json_line({**_place(examples, len(rows) - len(new), size), "rows": new}))
            progress.advance(len(rows))
            heed()
    record.write_evaluation(name, when, rows)
    if record.may_write():
        remove(kept)
    return rows


def _begun(kept: Path, examples: Sequence[Example], size: int) -> list[Row]:
    """Return the rows of the portions that an earlier attempt has measured, and cut off whatever else it has left."""
    with explained(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
        lines = parse_lines(kept.read_bytes())[0] if kept.exists() else []
    whole: list[dict[str, Any]] = []
    rows: list[Row] = []
    for line in lines:
        place, new = _place(examples, len(rows), size), line.get("rows")
        if {**line, "rows": None} != {**place, "rows": None} or not isinstance(new, list):
            break
        if len(new) != len(place["ids"]) or not all(isinstance(row, dict) for row in new):
            break
        whole.append(line)
        rows += new
    if kept.exists():
        write_lines(kept, whole)
    return rows


def _place(examples: Sequence[Example], first: int, size: int) -> dict[str, Any]:
    """Return what tells one portion from all others."""
    return {"first": first, "ids": [example.id for example in examples[first : first + size]]}


def measure_all(name: str, evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded) -> list[Row]:
    """Measure examples, each process its share, and record nothing; every process gets all rows, in order."""
    size = len(examples) if evaluation.whole else evaluation.portion
    parts = (examples[start : start + size] for start in range(0, len(examples), size))
    return [row for part in parts for row in _portion(name, evaluation, part, loaded)]


def _portion(name: str, evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded) -> list[Row]:
    measured = _alone if evaluation.whole else _together if loaded.sharded else _shared
    rows = measured(evaluation, examples, loaded)
    if len(rows) != len(examples):
        what = f"gave {len(rows)} rows for {len(examples)} examples"
        raise PluginError(f"evaluation.{name}", what, "`rows` must return one row an example, in order")
    return rows


def _shared(evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded) -> list[Row]:
    shares = distributed.gather(evaluation.rows(loaded, examples[distributed.rank() :: distributed.world_size()]))
    if sum(map(len, shares)) != len(examples):
        return [row for share in shares for row in share]
    rows: list[Row] = [{} for _ in examples]
    for rank, share in enumerate(shares):
        rows[rank :: len(shares)] = share
    return rows


def _together(evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded) -> list[Row]:
    """Measure everything in every process, so that all call the model alike: each holds a part of its weights."""
    return list(distributed.broadcast(evaluation.rows(loaded, examples)))


def _alone(evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded) -> list[Row]:
    return list(distributed.broadcast(evaluation.rows(loaded, examples) if distributed.is_main() else None))
