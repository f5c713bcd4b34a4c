"""What the store's folders hold, as found: whole, unfinished, damaged."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from rlpipe.core.errors import RecordError
from rlpipe.records import history, lease, manifest
from rlpipe.records.record import read_result
from rlpipe.stages import identity
from rlpipe.stages.fingerprint import RECORDED
from rlpipe.stages.users import users


class State(Enum):
    """How a stage's folder stands."""

    missing = "missing"
    """There is none, or nothing has been done in it yet."""
    building = "building"
    unfinished = "unfinished"
    """Its run was killed or stopped; the next one that needs it goes on."""
    failed = "failed"
    ok = "ok"
    damaged = "damaged"
    """Its record says ok, but its files are not what it says; or the record cannot be read."""


@dataclass
class Stored:
    """One folder of the store."""

    folder: Path

    @property
    def name(self) -> str:
        """`<method>-<dataset>-<12 hex>`; `reference-…`, `rows-…` and `tokens-…` for what `stages.entries` keeps."""
        return self.folder.name

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """The run's manifest; empty where there is none. Raises RecordError for a damaged one."""
        return manifest.read(self.folder) or {}

    @functools.cached_property
    def result(self) -> dict[str, Any]:
        """How the run ended; empty while it has not. Raises RecordError for a damaged one."""
        return read_result(self.folder) or {}

    @property
    def makes(self) -> str:
        """`model`, `data`, `reference`, `rows` or `tokens`."""
        return next((makes for makes, key in RECORDED.items() if self.manifest.get(key)), "model")

    @property
    def parents(self) -> dict[str, str]:
        """The stages that it was made from: names and fingerprints."""
        parents: dict[str, str] = self.manifest.get("parents", {})
        return parents

    @property
    def created(self) -> float | None:
        """When it was begun, in seconds since 1970; None where that cannot be read."""
        try:
            text = self.manifest.get("created")
        except RecordError:
            return None
        return datetime.fromisoformat(text).timestamp() if text else None

    @property
    def step(self) -> int | None:
        """The last optimiser step that was logged."""
        return max((row["step"] for row in history.rows(self.folder / "metrics.jsonl")), default=None)

    @property
    def builder(self) -> lease.Owner | None:
        """The process that writes here now."""
        sign = lease.holder(self.folder)
        return sign.owner if sign else None

    def state(self, content: bool = True, held: bool = False) -> State:
        """Return how it stands; without `content` its files are looked for, and their content is taken on trust.

        `held` says that this process has the right to write there, so that nobody else is building.
        """
        try:
            status = self.result.get("status")
            if not self.manifest and status is None:
                return State.building if self.builder else State.missing
        except RecordError:
            return State.damaged
        if status == "ok":
            return State.damaged if self.damage(content) else State.ok
        if not held and self.builder:
            return State.building
        return State.failed if status == "failed" else State.unfinished

    def damage(self, content: bool = True) -> str | None:
        """Say what is wrong with a finished stage, None where its files are as they were written."""
        try:
            recorded = self.manifest.get(RECORDED[self.makes])
            result = self.result
        except RecordError as error:
            return error.headline
        if not recorded or not result:
            return "its record names no files that it made"
        folder = self.folder / self.makes
        found = identity.hashes(folder) if content else dict.fromkeys(identity.names(folder))
        for name in recorded | found:
            if name not in found:
                return f"{self.makes}/{name} is missing"
            if name not in recorded:
                return f"{self.makes}/{name} was added later"
            if content and recorded[name] != found[name]:
                return f"{self.makes}/{name} has another content than it was written with"
        return None

    @property
    def last_use(self) -> float:
        """When a run last began or ended to use it, or it was last built, in seconds since 1970."""
        times = [
            path.stat().st_mtime for name in (".users", "result.json", ".") if (path := self.folder / name).exists()
        ]
        return max(times)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file())


def all_stored(store: Path) -> Iterator[Stored]:
    """Yield the stages of a store, by name. Folders that begin with a dot are none."""
    if store.is_dir():
        for folder in sorted(store.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                yield Stored(folder)


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
