"""Which rows of a large dataset are used, kept in the store: found once for all runs that read the same.

Finding them takes every row: each is read, cleaned and compared with all others. Reading those that a run comes to
takes their numbers alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlpipe.config.compose import to_plain
from rlpipe.config.resolved import Resolved
from rlpipe.core import distributed
from rlpipe.core.errors import Problem
from rlpipe.core.files import explained, json_text, write_atomic
from rlpipe.datasets import splitting
from rlpipe.datasets.base import Chosen, LoadReport, Rows, Split, Splits
from rlpipe.datasets.load import Opened
from rlpipe.stages.entries import by_main, entry, lent
from rlpipe.stages.identity import code, content

REPORTS, NUMBERS = "reports.json", "numbers.npz"

Find = Callable[[], tuple[Splits, list[Problem]]]
"""Goes through all rows; returns those to use, and what they cannot teach."""


def found(resolved: Resolved, source: Opened, validation: int, run: Path, find: Find) -> tuple[Splits, list[Problem]]:
    """Return what `find` returns; of a large dataset taken from the store, or computed and kept there.

    Rows are not kept where they depend on more than is known here: on another package's code, or on tools.
    """
    known = None if source.train is None or len(source.train.rows) <= splitting.LARGE else content(source)
    ours = [type(resolved.dataset), *(type(resolved.reward(name)) for name in resolved.config.reward)]
    if known is None or resolved.config.tool or not all(one.__module__.startswith("rlpipe.") for one in ours):
        return find()
    needed = entry("rows", resolved.config, _inputs(resolved, source, validation, known))
    if not distributed.broadcast(needed.usable):
        return find()

    def compute(folder: Path) -> None:
        splits, weak = find()
        by_main(_written(source, splits, weak, folder))

    with lent(needed, run, compute) as (folder, _):
        return _read(source, folder)


def _inputs(resolved: Resolved, source: Opened, validation: int, known: Any) -> dict[str, Any]:
    """Return all that the choice of rows depends on; where the files lie is none of it."""
    config = resolved.config
    plain = to_plain(config)
    settings = {name: value for name, value in plain["dataset"].items() if name not in ("source", "stage")}
    rewards = json.dumps(plain["reward"], sort_keys=True)  # hashed, for an endpoint may have a login
    return {
        "dataset": settings,
        "content": known,
        "forms": source.forms,
        "seed": config.seed if config.dataset.train_limit is not None else None,
        "validation": validation,
        "rewards": hashlib.sha256(rewards.encode()).hexdigest(),
        "code": code(),
    }


def _written(source: Opened, splits: Splits, weak: list[Problem], folder: Path) -> Iterator[None]:
    import numpy as np

    numbers: dict[str, Any] = {}
    reports = {}
    for name, split in _named(splits).items():
        assert split.chosen is not None
        numbers[f"{name}_numbers"] = np.frombuffer(split.chosen.numbers, dtype=np.int64)
        numbers[f"{name}_counts"] = np.frombuffer(split.chosen.counts, dtype=np.int64)
        notes = [note for note in split.report.notes if note not in _rows(source, name).notes]
        reports[name] = vars(dataclasses.replace(split.report, notes=notes))
    with explained(folder, setting="store"):
        np.savez(folder / NUMBERS, **numbers)
    write_atomic(folder / REPORTS, json_text({"reports": reports, "weak": [vars(one) for one in weak]}))
    yield


def _read(source: Opened, folder: Path) -> tuple[Splits, list[Problem]]:
    import numpy as np

    about = json.loads((folder / REPORTS).read_bytes())
    with np.load(folder / NUMBERS) as kept:
        numbers = {name: array("q", kept[name].tobytes()) for name in kept.files}
    chosen = {}
    for name, report in about["reports"].items():
        rows = _rows(source, name)  # the same rows may lie elsewhere by now
        report |= {"source": rows.source, "notes": [*rows.notes, *report["notes"]]}
        chosen[name] = (LoadReport(**report), Chosen(numbers[f"{name}_numbers"], numbers[f"{name}_counts"]))
    return source.again(chosen), [Problem(**one) for one in about["weak"]]


def _rows(source: Opened, name: str) -> Rows:
    rows = source.train if name == "train" else source.tested
    assert rows is not None
    return rows


def _named(splits: Splits) -> Mapping[str, Split]:
    found = {"train": splits.train, "test": splits.test, "validation": splits.validation}
    return {name: split for name, split in found.items() if split is not None}
