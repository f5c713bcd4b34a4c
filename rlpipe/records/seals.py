"""Whether what a result is made of is as it was written: every file's size and hash, and of rows their number.

A run's manifest holds the seals: `files` of its rows and numbers, `model` and `data_files` of what it has made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.core.files import Row, explained, sha256

MADE = {"model": "model", "data_files": "data"}
"""Fields of a manifest that hold the hashes of a folder's files, with the folder."""
READ = (".json", ".jsonl", ".jinja", ".safetensors", ".bin", ".py", ".model")
"""How the names of files end that a library takes for a part of a model or of data where it finds them."""


@dataclass(frozen=True)
class Flaw:
    """A file that is not as it was written."""

    file: str
    """Its path inside the run's folder."""
    what: str
    gone: bool = False
    """Whether it is not there at all."""

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


def seal(path: Path) -> Row:
    """Return a file's seal, read back from the disk; a file of rows is one that ends in `.jsonl`."""
    with explained(path, "read back"):
        data = path.read_bytes()
    return seal_of(data) | ({"rows": data.count(b"\n")} if path.suffix == ".jsonl" else {})


def seal_of(data: bytes) -> Row:
    """Return the seal of a file with this content."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def sealed(manifest: Row) -> dict[str, Row]:
    """Return the seals of all files that a manifest vouches for, by their paths inside the run's folder."""
    made = {
        f"{folder}/{name}": {"sha256": digest}
        for field, folder in MADE.items()
        for name, digest in (manifest.get(field) or {}).items()
    }
    return made | (manifest.get("files") or {})


def flaws(folder: Path, manifest: Row, content: bool = True, within: str = "") -> Iterator[Flaw]:
    """Yield the files of a run that are not as they were written, those whose paths begin with `within`.

    Without `content` files are looked for, and only their sizes are compared.
    """
    known = sealed(manifest)
    for name, recorded in known.items():
        if name.startswith(within) and (flaw := damage(folder / name, name, recorded, content)) is not None:
            yield flaw
    for field, made in MADE.items():
        if manifest.get(field) and made.startswith(within.rstrip("/")):
            names = (path.relative_to(folder).as_posix() for path in (folder / made).rglob("*") if path.is_file())
            unknown = sorted(name for name in names if name.endswith(READ) and name not in known)
            yield from (Flaw(name, "was not written by the run") for name in unknown)


def damage(path: Path, name: str, recorded: Row, content: bool = True) -> Flaw | None:
    """Return what is wrong with one file, None where it bears its seal."""
    try:
        if not path.is_file():
            return Flaw(name, "is missing", gone=True)
        size = path.stat().st_size
        if (size != recorded.get("size", size) or content) and sha256(path) != recorded["sha256"]:
            return Flaw(name, _instead(path, size, recorded))
    except OSError as error:
        return Flaw(name, f"cannot be read ({error.strerror or error})")
    return None


def _instead(path: Path, size: int, recorded: dict[str, Any]) -> str:
    if "rows" in recorded and (rows := path.read_bytes().count(b"\n")) != recorded["rows"]:
        return f"has {rows} rows instead of {recorded['rows']}"
    if size != recorded.get("size", size):
        return f"has {size} bytes instead of {recorded['size']}"
    return "has another content than it was written with"
