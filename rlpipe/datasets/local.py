"""Finding the files of a split in a local folder (in the hub's layouts) and reading them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rlpipe.core.errors import DataError
from rlpipe.datasets.base import Dataset, Row, Rows
from rlpipe.datasets.lazily import joined
from rlpipe.datasets.rows import SUFFIXES, read_rows, rows_of, sample_rows, suffix_of

FIRST = 100
"""Rows that are looked at to know which columns there are."""

Role = Literal["train", "test"]

ALIASES: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "eval", "valid", "validation", "dev"),
}
"""Names that stand for a split which the folder does not have by its own name; taken only where just one is there."""


@dataclass
class Found:
    """The files of one split."""

    name: str
    files: list[Path]
    notes: list[str] = field(default_factory=list)


def find(source: Path, subset: str | None, split: str, role: Role) -> Found:
    """Return the files of a split in a folder.

    Looked for in the folder, its `data/`, and both under `subset`: `SPLIT.jsonl` (or another ending),
    shards `SPLIT-00000-of-00003.parquet`, and a folder `SPLIT/`. Raises DataError where none or more
    than one set of files fits, listing what is there.
    """
    setting = f"dataset.{role}_split"
    found = _named(source, subset, split)
    if found:
        return Found(split, found)
    aliases = {name: files for name in ALIASES[role] if name != split and (files := _named(source, subset, name))}
    if len(aliases) == 1:
        (name, files), *_ = aliases.items()
        return Found(name, files, [f"the folder has no split '{split}'; its '{name}' stands for it"])
    if aliases:
        what = f"no files of split '{split}' in {source}, and several that may stand for it: {', '.join(aliases)}"
        raise DataError(setting, what, f"say which: {setting}={next(iter(aliases))}")
    what = f"no files of split '{split}' in {source}; it holds: {_listing(source)}"
    fix = f"set {setting} to a split that is there"
    if role == "test":
        fix += ", or dataset.test_split=null to hold out a share of the train split"
    raise DataError(setting, what, fix)


def _named(source: Path, subset: str | None, split: str) -> list[Path]:
    """Return the one set of files that holds `split`; empty where there is none."""
    folders = [source, source / "data"]
    if subset:
        folders = [source / subset, source / "data" / subset, *folders]
    for folder in folders:
        if not folder.is_dir():
            continue
        whole = [folder / f"{split}{suffix}" for suffix in SUFFIXES if (folder / f"{split}{suffix}").is_file()]
        shards = sorted(path for path in folder.glob(f"{split}-*-of-*") if suffix_of(path))
        inside = sorted(path for path in (folder / split).glob("*") if suffix_of(path))
        sets = [[path] for path in whole] + [files for files in (shards, inside) if files]
        if len(sets) > 1:
            names = ", ".join(files[0].name for files in sets)
            raise DataError(
                folder, f"split '{split}' is there more than once: {names}", "keep one, or name the file itself"
            )
        if sets:
            _check_whole(sets[0])
            return sets[0]
    return []


def _check_whole(files: list[Path]) -> None:
    match = re.search(r"-of-(\d+)", files[0].name)
    if match and len(files) != int(match[1]):
        raise DataError(files[0].parent, f"{len(files)} of {int(match[1])} shards are there", "fetch the missing ones")


def _listing(folder: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return shown or "nothing"


def existing(source: str) -> Path:
    """Return `dataset.source` as a path that is there. Raises DataError."""
    path = Path(source).expanduser()
    if not path.exists():
        what = f"'{source}' is neither 'hub' nor 'sample', and no file or folder of that name exists"
        raise DataError("dataset.source", what, "give hub, sample, or the path of a file or folder")
    return path


SAMPLED = "looked at in samples"
"""How the note begins that says which part of a large file was read."""


def read_split(dataset: Dataset, source: Path, split: str, role: Role, largest: int | None = None) -> Rows:
    """Read one split from a folder, or the train split from a single file.

    Of a file of more than `largest` bytes only samples are read, and a note says so.
    """
    found = Found(split, [source]) if source.is_file() else find(source, dataset.config.subset, split, role)
    parts: list[Sequence[Row]] = []
    for file in found.files:
        if largest is not None and (size := file.stat().st_size) > largest:
            part, which = sample_rows(file)
            found.notes.append(f"{SAMPLED}: {file} has {size / 1e6:.0f} MB, of which {which} were read")
            parts.append(part)
        else:
            parts.append(_whole(dataset, file))
    rows = parts[0] if len(parts) == 1 else joined(parts)
    where = str(found.files[0]) if len(found.files) == 1 else f"{found.files[0].parent}/ ({len(found.files)} files)"
    return Rows(found.name, where, rows, found.notes)


def _whole(dataset: Dataset, file: Path) -> Sequence[Row]:
    if not adds_columns(dataset):
        return rows_of(file)
    rows = read_rows(file)
    dataset.add_columns(rows, file, whole=True)
    return rows


def adds_columns(dataset: Dataset) -> bool:
    """Return whether something of a local file's rows stands in other files."""
    return type(dataset).add_columns is not Dataset.add_columns


def first_rows(
    dataset: Dataset, source: Path, split: str, role: Role, limit: int | None = FIRST
) -> tuple[Path, list[Row]]:
    """Return the first file of a split and its first rows, without reading the rest."""
    file = source if source.is_file() else find(source, dataset.config.subset, split, role).files[0]
    rows = read_rows(file, limit)
    dataset.add_columns(rows, file, whole=limit is None)
    return file, rows


def files_of(dataset: Dataset, train: bool = True) -> list[Path]:
    """Return the files of a local source's splits; without those to `train` on where the test split has its own.

    Raises DataError for a split that is not there.
    """
    config = dataset.config
    source = existing(config.source)
    if source.is_file():
        return [source]
    test = find(source, config.subset, config.test_split, "test").files if config.test_split is not None else []
    return (find(source, config.subset, config.train_split, "train").files if train or not test else []) + test


def first_columns(dataset: Dataset) -> list[str]:
    """Return the columns of a local source's first rows: the train split's, or else the test split's."""
    config = dataset.config
    source = existing(config.source)
    try:
        _, rows = first_rows(dataset, source, config.train_split, "train")
    except DataError:
        if config.test_split is None:
            raise
        _, rows = first_rows(dataset, source, config.test_split, "test")
    return columns_of(rows)


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Return all columns that any of some rows have."""
    return list(dict.fromkeys(name for row in rows for name in row))
