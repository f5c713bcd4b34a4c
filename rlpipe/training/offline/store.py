"""Training rows as an Arrow file of the run, or as they are made from tokens that lie in one.

Only data that lies in a file keeps its identity from one attempt to the next, and from one run to another.
Importing this module imports `datasets`.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from accelerate import PartialState
from datasets import Dataset
from datasets.table import InMemoryTable

from rlpipe.core.files import explained, move, remove
from rlpipe.datasets.lazily import Lazy, at
from rlpipe.methods.columns import Columns

if TYPE_CHECKING:
    from rlpipe.methods.offline import OfflineMethod
    from rlpipe.training.offline.tokenized import TokenizedExamples

AT_ONCE = 4096
"""Rows, about, that are laid out together."""
ROWS = "rows.arrow"


class OnDemand(Dataset):
    """Rows that are laid out when they are looked at, by a method whose rows stand each for itself."""

    def __init__(self, method: OfflineMethod, tokenized: TokenizedExamples):
        count = len(tokenized.tokens)
        super().__init__(InMemoryTable.from_pydict({"row": pa.array(range(count), pa.int64())}), fingerprint="rows")
        self._names = list(_columns(method, tokenized, [0]))
        self.set_transform(lambda batch: _columns(method, tokenized, batch["row"]))

    @property
    def column_names(self) -> list[str]:
        """The columns of the method's trainer."""
        return self._names

    def map(self, *args: Any, **kwargs: Any) -> OnDemand:
        """Return the same: what ORPOTrainer and CPOTrainer map over rows adds nothing to these."""
        return self


def laid_out(method: OfflineMethod, tokenized: TokenizedExamples, run_dir: Path) -> Dataset:
    """Return the rows of a method's trainer: written under the run, or made of kept tokens as they are looked at."""
    together = method.packs or method.precomputes or method.in_order
    if isinstance(tokenized.tokens, Lazy) and not together:
        return OnDemand(method, tokenized)
    return materialise(method, tokenized, run_dir)


def materialise(method: OfflineMethod, tokenized: TokenizedExamples, run_dir: Path) -> Dataset:
    """Write the rows under `run_dir/data` unless they lie there already, and open the file.

    In several processes the first one writes and the others wait for it. Raises RecordError for a disk that fails.
    """
    folder = run_dir / "data" / identity(_parts(method, tokenized))
    state = PartialState()
    with explained(folder), state.main_process_first():
        if state.is_main_process and not folder.exists():
            half = folder.with_name(f"{folder.name}.{os.getpid()}.part")
            remove(half)
            half.mkdir(parents=True)
            _write(_parts(method, tokenized), half / ROWS)
            move(half, folder)
    with explained(folder, "read"):
        return Dataset.from_file(str(folder / ROWS))


def folder_of(rows: Dataset) -> Path:
    """Return the folder of rows that `materialise` has opened; its name is their identity."""
    return Path(rows.cache_files[0]["filename"]).parent


def _parts(method: OfflineMethod, tokenized: TokenizedExamples) -> Iterator[Columns]:
    """Yield the columns part by part, each of whole batches: which rows belong together stays as it is."""
    size = max(1, AT_ONCE // method.config.batch_size) * method.config.batch_size
    for first in range(0, len(tokenized.tokens), size):
        yield _columns(method, tokenized, range(len(tokenized.tokens))[first : first + size])


def _columns(method: OfflineMethod, tokenized: TokenizedExamples, places: Any) -> Columns:
    return method.columns(at(tokenized.examples, places), at(tokenized.tokens, places))


def _write(parts: Iterator[Columns], file: Path) -> None:
    first = {name: pa.array(values, _type(values)) for name, values in next(parts).items()}
    schema = pa.schema({name: values.type for name, values in first.items()})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(first, schema=schema))
        for columns in parts:
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _type(values: list[Any]) -> pa.DataType | None:
    """Return the type of a column, of which all lists may be empty."""
    return pa.list_(pa.int64()) if values and all(value == [] for value in values) else None


def identity(parts: Iterator[Columns]) -> str:
    """Hash the content of all columns."""
    digests: dict[str, Any] = {}
    for columns in parts:
        for name, values in columns.items():
            digest = digests.setdefault(name, hashlib.sha256())
            for value in values:
                row = value if isinstance(value, list) else [value]
                digest.update(array("d" if isinstance(row[0], float) else "q", row).tobytes() if row else b"")
                digest.update(b"\n")
    whole = "".join(f"{name} {digest.hexdigest()}\n" for name, digest in digests.items())
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
