"""What runs keep in the store for others that need the very same: computed once, under all that it depends on.

References' log-probabilities, which rows of a large dataset are used, and their tokens. An entry is a folder of the
store like a stage's (`stages.stored`): listed, verified and pruned with them, built by one process while others wait,
and built again by one of them when that dies.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.errors import RlpipeError, StageError
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

Compute = Callable[[Path], None]
"""Writes files into a folder; all processes of a run come to it together."""


_END = object()


@dataclass(frozen=True)
class Entry(Stage):
    """One entry: `reference`, `rows` or `tokens` of one run's dataset."""

    kind: str = ""

    @property
    def name(self) -> str:
        """`<kind>-<dataset>-<12 hex>`."""
        return f"{self.kind}-{self.config.dataset.name}-{self.fingerprint[:12]}"

    @property
    def folder(self) -> Path:
        """Where the entry lies."""
        return store_dir(self.config.store) / self.name

    @property
    def makes(self) -> str:
        """What the store calls it."""
        return self.kind

    @property
    def usable(self) -> bool:
        """Whether the entry is there, or can be put there."""
        store = self.folder.parent
        above = next(folder for folder in (store, *store.parents) if folder.exists())
        return self.folder.is_dir() or (above.is_dir() and os.access(above, os.W_OK))


def entry(kind: str, config: RunConfig, inputs: Mapping[str, Any]) -> Entry:
    """Name an entry by all that its files depend on, and by nothing else; numeric packages are added."""
    whole = {**inputs, "versions": packages()}
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return Entry(config, digest, whole, kind=kind)


@contextmanager
def lent(needed: Entry, run: Path, compute: Compute) -> Iterator[tuple[Path, list[str]]]:
    """Lend an entry's folder, computed first if the store lacks it, and say how it came about.

    A damaged entry is put aside and computed again. Raises RlpipeError where that fails, Stopped while waiting.
    """
    notes = _put_damaged_aside(needed) if distributed.is_main() else []
    taken = f"taken from the store ({needed.name})"

    def build(config: RunConfig, stage: Stage, lease: Lease | None) -> None:
        nonlocal taken
        taken = f"computed, and kept in the store ({needed.name})"
        if distributed.is_main():
            needed.product.mkdir(exist_ok=True)
        compute(needed.product)
        if distributed.is_main():
            _finish(needed)

    with ExitStack() as uses:
        try:
            product = uses.enter_context(in_use(needed, str(run), build))
        except StageError as error:
            if isinstance(error.__cause__, RlpipeError):  # what is wrong is the run's own matter
                raise error.__cause__ from None
            raise
        yield product, [*notes, taken]


def by_main(steps: Iterator[None]) -> None:
    """Have the main process go through steps while all others wait, none longer than a step takes.

    What goes wrong there is raised in all.
    """
    failed, going = None, True
    while going:
        if distributed.is_main():
            try:
                going = next(steps, _END) is not _END
            except RlpipeError as error:
                failed = error
        failed, going = distributed.broadcast((failed, going))
        if failed is not None:
            raise failed


def _finish(made: Entry) -> None:
    """Write the entry's record; the result, which says that it is whole, comes last."""
    named = {"dataset": {"name": made.config.dataset.name}, "method": {"name": made.config.method.name}}
    contents = {
        "created": datetime.now(UTC).isoformat(),
        "config": named,
        "overrides": [],
        "fingerprint": made.fingerprint,
        "fingerprint_inputs": made.inputs,
        RECORDED[made.makes]: {file.name: sha256(file, sync=True) for file in sorted(made.product.iterdir())},
    }
    manifest.write(made.folder, contents)
    write_atomic(made.folder / "result.json", json_text({"status": "ok"}))


def _put_damaged_aside(needed: Entry) -> list[str]:
    """Move a damaged entry out of the way; another run that does so at the same time, or makes it again, is let."""
    if Stored(needed.folder).state() is not State.damaged:
        return []
    try:
        with held(needed.folder, "moving it aside"):
            found = Stored(needed.folder)
            if found.state() is not State.damaged:
                return []
            note = f"{needed.name} was damaged ({found.damage()}): made again"
            put_aside(found)
    except Taken:
        return []
    say(note)
    return [note]
