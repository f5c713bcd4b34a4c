"""Run directories with known scores, as `Record` writes them."""

from __future__ import annotations

import functools
import json
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlpipe.core.files import json_line, json_text
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


@functools.cache
def _template() -> dict[str, str]:
    """The files of a run that `Record` wrote; looking at code and hardware takes it too long to do it every time."""
    with tempfile.TemporaryDirectory() as folder:
        record = Record.open(Path(folder), config())
        record.log_metrics(1, {"loss": 0.5})
        record.finish(Status.ok, "evaluate", cost={"steps": 1, "tokens": 10})
        return {name: (Path(folder) / name).read_text() for name in ("manifest.json", "result.json", "metrics.jsonl")}


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
    manifest, result = (json.loads(_template()[name]) for name in ("manifest.json", "result.json"))
    settled = config(seed, **fields)
    manifest |= {"files": {}, "id": uuid.uuid4().hex[:12], "config": settled, "overrides": [*overrides, f"seed={seed}"]}
    result |= {"status": status.name, "metrics": dict(metrics or {})}
    if error is not None:
        result["error"] = {"type": type(error).__name__, "message": str(error), "traceback": "error.txt"}
    (folder / "evaluations").mkdir(parents=True)
    for when, found in (("before", before), ("after", scores)):
        if found is not None:
            _lines(folder / "evaluations" / f"{name}.{when}.jsonl", rows(found, ids))
    if protocol is not None:
        (folder / "evaluations" / f"{name}.protocol.json").write_text(json_text(dict(protocol)))
    (folder / "metrics.jsonl").write_text(_template()["metrics.jsonl"])
    (folder / "manifest.json").write_text(json_text(manifest))
    (folder / "result.json").write_text(json_text(result))
    return folder


def _lines(path: Path, content: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(map(json_line, content)))
