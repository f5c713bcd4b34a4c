"""Run directories with known scores, as `Record` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlpipe.records.files import json_text, write_atomic, write_lines
from rlpipe.records.record import Record, Status

PROTOCOL = {"dataset": {"name": "gsm8k"}, "evaluation": "accuracy", "sampling": {"temperature": 0.0}}


def config(seed: int = 0, **fields: Any) -> dict[str, Any]:
    """A small config; `fields` by dotted path with `__` for the dot."""
    made: dict[str, Any] = {
        "method": {"name": "dpo", "beta": 0.1, "learning_rate": 1e-5},
        "model": {"name": "tiny", "source": None, "parameters": 1},
        "dataset": {"name": "gsm8k", "source": "sample"},
        "reward": {},
        "evaluation": {"accuracy": {"name": "accuracy", "samples": 0}},
        "hardware": {"device": "cpu"},
        "seed": seed,
        "run_dir": None,
    }
    for path, value in fields.items():
        *outer, last = path.split("__")
        node = made
        for key in outer:
            node = node.setdefault(key, {})
        node[last] = value
    return made


def rows(scores: Sequence[float | None], ids: Sequence[str] | None = None, **more: Any) -> list[dict[str, Any]]:
    """An evaluation's rows; the prompt follows from the id."""
    names = ids or [f"test/{place}" for place in range(len(scores))]
    return [
        {"id": name, "prompt": f"What is {name}?", "score": score, **more}
        for name, score in zip(names, scores, strict=True)
    ]


def recorded(
    folder: Path,
    scores: Sequence[float | None] | None = None,
    *,
    seed: int = 0,
    before: Sequence[float | None] | None = None,
    ids: Sequence[str] | None = None,
    protocol: Mapping[str, Any] | None = PROTOCOL,
    metrics: Mapping[str, Any] | None = None,
    status: Status = Status.ok,
    error: BaseException | None = None,
    name: str = "accuracy",
    overrides: Sequence[str] = (),
    **fields: Any,
) -> Path:
    """Write a run that ended; `fields` are settings of its config."""
    record = Record.open(folder, config(seed, **fields), overrides=[*overrides, f"seed={seed}"])
    for when, found in (("before", before), ("after", scores)):
        if found is not None:
            write_lines(folder / "evaluations" / f"{name}.{when}.jsonl", rows(found, ids))
    if protocol is not None:
        write_atomic(folder / "evaluations" / f"{name}.protocol.json", json_text(dict(protocol)))
    record.log_metrics(1, {"loss": 0.5})
    record.finish(status, "evaluate", metrics=metrics or {}, cost={"steps": 1, "tokens": 10}, error=error)
    return folder
