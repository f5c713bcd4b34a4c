"""Which checkpoints can be trusted, and how many are kept.

A trainer writes a checkpoint file by file, and a kill may come between any two. So a checkpoint
counts only once `whole.json` stands in it: written last, with the size and SHA-256 of every other
file. `newest_whole` believes nothing else. Each attempt writes into a folder of its own, from where a whole checkpoint
is moved: one that was suspended while it wrote adds nothing to what its successor writes.
Nothing here imports torch; `callbacks.WholeCheckpoints` calls `seal` and `prune` from inside a trainer.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlpipe.core.files import Row, explained, json_text, move, remove, sha256, write_atomic
from rlpipe.records.history import NOTHING

SEAL = "whole.json"
WRITING = ".writing-"
"""How the names of folders begin in which attempts write checkpoints."""

_log = logging.getLogger(__name__)
_NAME = re.compile(r"checkpoint-(\d+)")


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step after which a checkpoint was made."""
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint}: not a checkpoint's folder (checkpoint-<step>)")
    return int(match[1])


def all_checkpoints(folder: Path) -> list[Path]:
    """Return every checkpoint's folder, whole or not, the oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def seal(checkpoint: Path, world_size: int = 1, history: Mapping[str, Row] = NOTHING) -> None:
    """Declare a checkpoint whole: force its files to the disk, and note their sizes and hashes in `whole.json`.

    `history` holds the seals of what the run had logged by then, which are noted too. To be called when all processes
    have written their files. Raises RecordError.
    """
    with explained(checkpoint, "read back"):
        files = {str(path.relative_to(checkpoint)): _identity(path, sync=True) for path in _content(checkpoint)}
    content = {"step": step_of(checkpoint), "world_size": world_size, "files": files, "history": dict(history)}
    write_atomic(checkpoint / SEAL, json_text(content))


def history_of(checkpoint: Path) -> dict[str, Row]:
    """Return the seals of what the run had logged when a whole checkpoint was made; empty where it does not say."""
    found: dict[str, Row] = json.loads((checkpoint / SEAL).read_bytes()).get("history", {})
    return found


def processes_of(checkpoint: Path) -> int:
    """Return how many processes made a whole checkpoint."""
    found: int = json.loads((checkpoint / SEAL).read_bytes())["world_size"]
    return found


def publish(checkpoint: Path, folder: Path) -> Path:
    """Move a sealed checkpoint to those that count, in one step, and return where it is."""
    place = folder / checkpoint.name
    if place != checkpoint:
        remove(place)
        move(checkpoint, place)
        remove(checkpoint.parent)
    return place


def damage(checkpoint: Path) -> str | None:
    """Say what is wrong with a checkpoint that bears the seal, or None when it is as it was written."""
    try:
        files: dict[str, dict[str, Any]] = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["size"]:
                return f"{name}: {path.stat().st_size} bytes instead of {expected['size']}"
            if _identity(path) != expected:
                return f"{name}: hash differs"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{SEAL if isinstance(error, (ValueError, KeyError, TypeError)) else 'files'} cannot be read: {error}"
    return None


def newest_whole(folder: Path) -> Path | None:
    """Return the newest checkpoint that is exactly as it was written, None when there is none.

    Half-written ones are passed over; so are damaged ones, with a warning that names what is wrong.
    """
    passed = []
    found = None
    for checkpoint in reversed(all_checkpoints(folder)):
        if not (checkpoint / SEAL).exists():
            _log.info("%s is half-written: not used", checkpoint.name)
            continue
        wrong = damage(checkpoint)
        if wrong is None:
            found = checkpoint
            break
        passed.append(f"{checkpoint.name} is damaged ({wrong})")
    for warning in passed:
        _log.warning("%s; going on from %s", warning, found.name if found else "the start")
    return found


def prune(folder: Path, keep: int) -> None:
    """Delete whole checkpoints but for the newest `keep`, and half-written ones older than the newest whole."""
    whole = [checkpoint for checkpoint in all_checkpoints(folder) if (checkpoint / SEAL).exists()]
    if not whole:
        return
    kept = set(whole[-keep:])
    for checkpoint in all_checkpoints(folder):
        if checkpoint not in kept and step_of(checkpoint) < step_of(whole[-1]):
            delete(checkpoint)


def clear_after(folder: Path, resumed: Path | None) -> None:
    """Delete every checkpoint newer than the one that training goes on from (all when it starts anew).

    They are half-written or damaged: the trainer must not write into their remains. What earlier attempts were writing
    goes too.
    """
    for unfinished in folder.glob(f"{WRITING}*"):
        remove(unfinished)
    for checkpoint in all_checkpoints(folder):
        if resumed is None or step_of(checkpoint) > step_of(resumed):
            delete(checkpoint)


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint; killed half-way, it leaves one that counts as half-written. Raises RecordError."""
    remove(checkpoint / SEAL)
    remove(checkpoint)


def _content(checkpoint: Path) -> list[Path]:
    """Return the files that the seal covers."""
    return sorted(
        path
        for path in checkpoint.rglob("*")
        if path.is_file() and path.name != SEAL and not (path.name.startswith(".") and path.name.endswith(".tmp"))
    )


def _identity(path: Path, sync: bool = False) -> dict[str, Any]:
    """Return a file's size in bytes and SHA-256; with `sync`, also force it to the disk."""
    return {"size": path.stat().st_size, "sha256": sha256(path, sync)}
