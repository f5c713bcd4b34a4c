"""What a reference says of a run's rows, kept in the store: computed once for all runs that ask the same.

An entry is a folder of the store like a stage's (`stages.stored`): listed, verified and pruned with them, built by one
process while others wait, and built again by one of them when that dies.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.files import json_text, sha256, write_atomic
from rlpipe.core.paths import store_dir
from rlpipe.core.terminal import say
from rlpipe.records import manifest
from rlpipe.records.lease import Lease, Taken, held
from rlpipe.records.provenance import packages
from rlpipe.stages.fingerprint import RECORDED, Stage
from rlpipe.stages.store import in_use
from rlpipe.stages.stored import State, Stored
from rlpipe.stages.upkeep import put_aside

FILE = "logps.safetensors"
"""The file of an entry's product: one column a name, float32 [rows], in the order of the rows."""

Compute = Callable[[Path], None]
"""Writes the file; all processes of a run come to it together."""


@dataclass(frozen=True)
class Reference(Stage):
    """Reference log-probabilities of one run's rows."""

    @property
    def name(self) -> str:
        """`reference-<dataset>-<12 hex>`."""
        return f"reference-{self.config.dataset.name}-{self.fingerprint[:12]}"

    @property
    def folder(self) -> Path:
        """Where the entry lies."""
        return store_dir(self.config.store) / self.name

    @property
    def makes(self) -> str:
        """What the store calls it."""
        return "reference"

    @property
    def usable(self) -> bool:
        """Whether the entry is there, or can be put there."""
        store = self.folder.parent
        above = next(folder for folder in (store, *store.parents) if folder.exists())
        return self.folder.is_dir() or (above.is_dir() and os.access(above, os.W_OK))


def reference(config: RunConfig, inputs: Mapping[str, Any]) -> Reference:
    """Name an entry by all that its numbers depend on, and by nothing else; numeric packages are added."""
    whole = {**inputs, "versions": packages()}
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return Reference(config, digest, whole)


@contextmanager
def lent(entry: Reference, run: Path, compute: Compute) -> Iterator[tuple[Path, list[str]]]:
    """Lend an entry's file, computed first if the store lacks it, and say how it came about.

    A damaged entry is put aside and computed again. Raises RlpipeError where that fails, Stopped while waiting.
    """
    notes = _put_damaged_aside(entry) if distributed.is_main() else []
    taken = f"taken from the store ({entry.name})"

    def build(config: RunConfig, stage: Stage, lease: Lease | None) -> None:
        nonlocal taken
        taken = f"computed, and kept in the store ({entry.name})"
        if distributed.is_main():
            entry.product.mkdir(exist_ok=True)
        compute(entry.product / FILE)
        if distributed.is_main():
            _finish(entry)

    with in_use(entry, str(run), build) as product:
        yield product / FILE, [*notes, taken]


def _finish(entry: Reference) -> None:
    """Write the entry's record; the result, which says that it is whole, comes last."""
    named = {"dataset": {"name": entry.config.dataset.name}, "method": {"name": entry.config.method.name}}
    contents = {
        "created": datetime.now(UTC).isoformat(),
        "config": named,
        "overrides": [],
        "fingerprint": entry.fingerprint,
        "fingerprint_inputs": entry.inputs,
        RECORDED[entry.makes]: {FILE: sha256(entry.product / FILE, sync=True)},
    }
    manifest.write(entry.folder, contents)
    write_atomic(entry.folder / "result.json", json_text({"status": "ok"}))


def _put_damaged_aside(entry: Reference) -> list[str]:
    """Move a damaged entry out of the way; another run that does so at the same time, or makes it again, is let."""
    if Stored(entry.folder).state() is not State.damaged:
        return []
    try:
        with held(entry.folder, "moving it aside"):
            found = Stored(entry.folder)
            if found.state() is not State.damaged:
                return []
            note = f"{entry.name} was damaged ({found.damage()}): made again"
            put_aside(found)
    except Taken:
        return []
    say(note)
    return [note]
