"""Measuring examples portion by portion: shown as it goes on, and never twice where a run was interrupted.

The rows of finished portions are kept in `evaluations/<name>.<when>.jsonl.part` until all are there. Portions
begin at fixed places, so that an interrupted measurement ends with the rows that it would have had.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlpipe.core import distributed
from rlpipe.core.errors import PluginError
from rlpipe.core.files import append, json_line, read_lines, write_lines
from rlpipe.core.progress import Counting
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
    rows: list[Row] = distributed.broadcast(_begun(kept, size) if distributed.is_main() else None)
    shown = bool(record.config["log"]["progress"])
    with Counting(f"{name} {when}", len(examples), done=len(rows), enabled=shown) as progress:
        while len(rows) < len(examples):
            new = _portion(name, evaluation, examples[len(rows) : len(rows) + size], loaded)
            rows += new
            if len(rows) < len(examples) and distributed.is_main():
                append(kept, "".join(map(json_line, new)))
            progress.advance(len(rows))
    record.write_evaluation(name, when, rows)
    if distributed.is_main():
        kept.unlink(missing_ok=True)
    return rows


def _begun(kept: Path, size: int) -> list[Row]:
    """Return the rows of whole portions that an earlier attempt has measured; what it left of another is cut off."""
    rows = read_lines(kept)
    whole = rows[: len(rows) // size * size] if size else []
    if kept.exists():
        write_lines(kept, whole)
    kept.parent.mkdir(parents=True, exist_ok=True)
    return whole


def measure_all(name: str, evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded) -> list[Row]:
    """Measure examples, each process its share, and record nothing; every process gets all rows, in order."""
    size = len(examples) if evaluation.whole else evaluation.portion
    parts = (examples[start : start + size] for start in range(0, len(examples), size))
    return [row for part in parts for row in _portion(name, evaluation, part, loaded)]


def _portion(name: str, evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded) -> list[Row]:
    rows = _alone(evaluation, examples, loaded) if evaluation.whole else _shared(evaluation, examples, loaded)
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


def _alone(evaluation: Evaluation, examples: Sequence[Example], loaded: Loaded) -> list[Row]:
    return list(distributed.broadcast(evaluation.rows(loaded, examples) if distributed.is_main() else None))
