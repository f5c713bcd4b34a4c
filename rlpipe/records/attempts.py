"""The manifest's account of a run: what it is, and each attempt at it."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from rlpipe.core import distributed
from rlpipe.core.files import Row
from rlpipe.records import provenance

remarks: ContextVar[tuple[str, ...]] = ContextVar("remarks", default=())
"""What whoever started this process has to say of the attempt; it is kept among the record's notes."""


class Status(Enum):
    """How a run, or one attempt at it, ended."""

    ok = "ok"
    failed = "failed"
    stopped = "stopped"
    pruned = "pruned"
    """An arm of a sweep that did not go on at a rung; it has saved."""


def new_manifest(config: Row, choices: Mapping[str, Any], overrides: Sequence[str]) -> Row:
    """Return the manifest of a run that starts now; its id stays the same over all attempts."""
    return {
        "id": uuid.uuid4().hex[:12],
        "rlpipe": provenance.rlpipe_version(),
        "created": _now(),
        "choices": provenance.plain(dict(choices)),
        "overrides": [provenance.hide_override(override) for override in overrides],
        "seed": config.get("seed"),
        "config": config,
        "parents": {},
        "notes": [],
        "files": {},
        "attempts": [],
    }


def begin(manifest: Row) -> bytes:
    """Add an attempt by this process, and return the uncommitted changes of the code it runs on."""
    attempts = manifest["attempts"]
    state, diff = provenance.code(Path.cwd())
    attempt = {
        "started": _now(),
        "host": platform.node(),
        "pid": os.getpid(),
        "processes": distributed.world_size(),
        "code": state,
        "packages": provenance.packages(),
        "hardware": provenance.hardware(),
    }
    attempts.append(attempt)
    if diff:
        attempt["diff"] = "code.diff" if len(attempts) == 1 else f"code.{len(attempts)}.diff"
    return diff


def redivided(attempt: Row) -> bool:
    """Return whether an attempt went on with another number of processes than had made the checkpoint."""
    return attempt.get("resumed_processes", attempt.get("processes")) != attempt.get("processes")


def close(manifest: Row, outcome: str, stage: str, spent: Mapping[str, float]) -> Row:
    """Note how the current attempt ended and what it took, and return the run's result so far."""
    attempts = manifest["attempts"]
    attempts[-1].update(ended=_now(), outcome=outcome, stage=stage, **spent)
    return {"status": outcome, "stage": stage, "cost": total_cost(manifest, spent), "attempts": len(attempts)}


def close_killed(manifest: Row, metrics: Iterable[Row]) -> None:
    """Mark attempts that never ended as killed; they were at work until their last row of metrics."""
    last = max((row["time"] for row in metrics if "time" in row), default=0.0)
    for attempt in manifest["attempts"]:
        if "outcome" not in attempt:
            started = datetime.fromisoformat(attempt["started"]).timestamp()
            attempt.update(outcome="killed", seconds=round(max(0.0, last - started), 3))


def total_cost(manifest: Row, names: Iterable[str]) -> dict[str, float]:
    """Return what all attempts took together; `steps` counts from the start of the run anyway."""
    attempts = manifest["attempts"]
    return added([{name: attempt.get(name, 0) for name in names} for attempt in attempts]) | {
        name: attempts[-1][name] for name in names if name == "steps"
    }


def added(costs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return what several took together: of memory the most, of all else the sum."""
    total: dict[str, float] = {}
    for cost in costs:
        for name, value in cost.items():
            total[name] = max(total.get(name, 0), value) if name == "peak_memory" else total.get(name, 0) + value
    return {name: round(value, 3) for name, value in total.items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
