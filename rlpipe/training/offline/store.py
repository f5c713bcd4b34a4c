"""Training rows as an Arrow file of the run.

Only data that lies in a file keeps its identity from one attempt to the next, and from one run to another.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from rlpipe.core.files import explained, move, remove
from rlpipe.methods.columns import Columns

if TYPE_CHECKING:
    from datasets import Dataset


def materialise(columns: Columns, run_dir: Path) -> Dataset:
    """Write the columns under `run_dir/data` unless they lie there already, and open the file.

    In several processes the first one writes and the others wait for it. Raises RecordError for a disk that fails.
    """
    from accelerate import PartialState
    from datasets import Dataset

    folder = run_dir / "data" / identity(columns)
    state = PartialState()
    with explained(folder), state.main_process_first():
        if state.is_main_process and not folder.exists():
            half = folder.with_name(f"{folder.name}.{os.getpid()}.part")
            remove(half)
            Dataset.from_dict(columns).save_to_disk(half)
            move(half, folder)
    with explained(folder, "read"):
        return Dataset.load_from_disk(str(folder), keep_in_memory=False)


def folder_of(rows: Dataset) -> Path:
    """Return the folder of rows that `materialise` has opened; its name is their identity."""
    return Path(rows.cache_files[0]["filename"]).parent


def identity(columns: Columns) -> str:
    """Hash the content of all columns."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(name.encode())
        for value in values:
            row = value if isinstance(value, list) else [value]
            digest.update(array("d" if isinstance(row[0], float) else "q", row).tobytes() if row else b"")
            digest.update(b"\n")
    return digest.hexdigest()[:16]
