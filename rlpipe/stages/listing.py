"""The store as a table: every stage under the one that it was made from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.filesize import decimal
from rich.table import Table

from rlpipe.core.errors import RecordError
from rlpipe.stages.stored import State, Stored
from rlpipe.stages.users import users


def table(stages: Sequence[Stored]) -> Table:
    """Return what the store holds, with sizes, ages and who uses what."""
    shown = Table("stage", "makes", "dataset", "status", "age", "size", "used by", box=None, pad_edge=False)
    for depth, stage in tree(stages):
        indent = "  " * (depth - 1) + "└ " if depth else ""
        shown.add_row(
            indent + stage.name,
            *_made(stage),
            status(stage),
            age(stage.created),
            decimal(stage.size),
            "; ".join(used_by(stage, stages)),
        )
    return shown


def tree(stages: Sequence[Stored]) -> Iterator[tuple[int, Stored]]:
    """Yield stages with their depth, each after the first stage of the store that it was made from."""
    by_name = {stage.name: stage for stage in stages}
    below: dict[str | None, list[Stored]] = {}
    for stage in stages:
        above = next((name for name in parents(stage) if name in by_name), None)
        below.setdefault(above, []).append(stage)

    def walk(name: str | None, depth: int) -> Iterator[tuple[int, Stored]]:
        for stage in below.get(name, []):
            yield depth, stage
            yield from walk(stage.name, depth + 1)

    yield from walk(None, 0)


def parents(stage: Stored) -> Sequence[str]:
    """Return the names of the stages that a stage was made from; none where its record cannot be read."""
    try:
        return list(stage.parents)
    except RecordError:
        return []


def used_by(stage: Stored, stages: Sequence[Stored]) -> list[str]:
    """Return in words who uses a stage: runs and sweeps now, other stages of the store for good."""
    children = sum(stage.name in parents(one) for one in stages)
    made = [f"{children} stage{'' if children == 1 else 's'} made from it"] if children else []
    return [*users(stage.folder), *made]


def status(stage: Stored) -> str:
    """Return in words how a stage stands."""
    state = stage.state(content=False)
    if state is State.damaged:
        return f"damaged: {stage.damage(content=False)}"
    step = stage.step if state in (State.building, State.unfinished, State.failed) else None
    words = state.value + (f" by {builder}" if state is State.building and (builder := stage.builder) else "")
    return words + (f", step {step}" if step is not None else "")


def age(since: float | None) -> str:
    """Return the time since a moment in its largest unit."""
    if since is None:
        return ""
    seconds = max(0.0, time.time() - since)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _made(stage: Stored) -> tuple[str, str]:
    try:
        dataset = stage.manifest.get("config", {}).get("dataset", {})
    except RecordError:
        return "", ""
    return stage.makes, str(dataset.get("name", ""))
