"""What data and weights are, by their content; read once a process, and again when the files change."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.core.errors import ModelError
from rlpipe.core.files import explained, sha256
from rlpipe.core.paths import PACKAGE
from rlpipe.datasets import local
from rlpipe.datasets.base import Dataset
from rlpipe.hub.facts import weights_folder

if TYPE_CHECKING:
    from rlpipe.datasets.load import Opened


@functools.cache
def code() -> str:
    """Return a hash of rlpipe's own code, of which one version may read rows otherwise than another."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(PACKAGE)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def files(config: DatasetConfig) -> Sequence[tuple[str, int, int]]:
    """Return what tells whether local files of rows have changed: each one's path, size and time."""
    if config.source in ("hub", "sample"):
        return ()
    return tuple(_stamps(Path(config.source).expanduser()))


def content(source: Opened) -> list[Any] | None:
    """Return what tells raw rows from others: hashes of the files that they stand in; None where these are not known.

    A table of the hub has its files in the cache, and a name of its own for which of their rows it holds.
    """
    config = source.dataset.config
    found: list[Any] = []
    if config.source not in ("hub", "sample"):
        return local_content(source.dataset)
    if config.source == "hub":
        for table in [one.rows for one in (source.train, source.test) if one is not None]:
            files = [Path(one["filename"]) for one in getattr(table, "cache_files", ())]
            if not files:
                return None
            found += [table._fingerprint, *(_sha256(*stamp) for file in files for stamp in _stamps(file))]  # type: ignore[attr-defined]
    return found or None


def local_content(dataset: Dataset) -> list[Any] | None:
    """Return hashes of the local files that rows stand in; None where other files have a part of them."""
    if local.adds_columns(dataset):
        return None
    return [[file.name, *(_sha256(*stamp) for stamp in _stamps(file))] for file in local.files_of(dataset)]


def weights(source: str, revision: str | None) -> str:
    """Name weights by a hash of a local folder's files, else by the hub's id and revision."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return json.dumps(hashes(weights_folder(folder)), sort_keys=True)
    return f"hub:{source}@{revision or 'main'}"


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder, as `records.files.hashes` does; known files are not read again."""
    with explained(folder, "read"):
        return {
            Path(path).relative_to(folder).as_posix(): _sha256(path, size, time)
            for path, size, time in _stamps(folder)
            if Path(path) != folder
        }


def names(folder: Path) -> list[str]:
    """Return the files of a folder, by their paths inside it."""
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _stamps(path: Path) -> Iterator[tuple[str, int, int]]:
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            state = file.stat()
            yield str(file), state.st_size, state.st_mtime_ns


@functools.lru_cache(maxsize=4096)
def _sha256(path: str, size: int, time: int) -> str:
    return sha256(Path(path))


def named(source: str, revision: str | None) -> str:
    """Return `sha256:<hex>` of a local folder's files, else `hub:<id>@<revision>`.

    Raises ModelError for what looks like a folder and is not there.
    """
    if not Path(source).expanduser().is_dir() and (source.startswith((".", "/", "~")) or source.count("/") != 1):
        raise ModelError(
            f"model.source={source}",
            "there is no such folder here",
            "put the weights there, or work in the folder that the run was started from",
        )
    name = weights(source, revision)
    return name if name.startswith("hub:") else f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
