"""Reading a dataset from the hub, or from the cache that an earlier download left.

The library tries an unreachable hub again and again for half a minute. So one short request is made
first: when it fails, only the cache is asked, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.core.errors import DataError
from rlpipe.datasets.base import Row, Rows
from rlpipe.hub.files import cache_only, reach

if TYPE_CHECKING:
    import datasets


CHOICES = (
    "set dataset.source=sample for made-up rows, or dataset.source=PATH for a local folder or file in the hub's columns"
)

BATCH = 1000


@dataclass
class HubRows(Rows):
    """Rows that stay on disk until they are taken."""

    def take(self, order: Iterable[int]) -> Iterator[Row]:
        """Yield the rows with these numbers, read in batches. Raises DataError where the library cannot read some."""
        import datasets
        import pyarrow

        table: Any = self.rows
        numbers = list(order)
        for start in range(0, len(numbers), BATCH):
            part = numbers[start : start + BATCH]
            try:
                columns = table[part]
            except ImportError as error:
                fix = "install what it names, or give rows without images and sound (dataset.subset, dataset.source)"
                raise DataError(self.source, f"rows hold what needs another library: {error}", fix) from error
            except (datasets.exceptions.DatasetsError, pyarrow.ArrowException, ValueError, OSError) as error:
                what = f"rows {part[0]} to {part[-1]} cannot be read: {type(error).__name__}: {error}"
                raise DataError(
                    self.source, what, "delete the dataset's folder in the cache, and fetch it again"
                ) from error
            names = list(columns)
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(names, values, strict=True))


def read_splits(config: DatasetConfig) -> tuple[Rows, Rows | None]:
    """Return the train and test rows of a hub dataset; None for a test split that is to be held out.

    Raises DataError for a hub that cannot be reached and whose dataset is not in the cache, and for an
    unknown id, subset, revision or split.
    """
    if not config.hub:
        raise DataError("dataset.hub", "no hub id is given", "set dataset.hub, or dataset.source to a file or folder")
    if Path(config.hub).exists():
        what = f"a local folder '{config.hub}' hides the hub's dataset of that name"
        raise DataError("dataset.hub", what, f"start from another folder, or say dataset.source={config.hub}")
    unreachable = reach()
    with cache_only(unreachable is not None):
        train = _read(config, config.train_split, "train_split", unreachable)
        test = _read(config, config.test_split, "test_split", unreachable) if config.test_split else None
    if unreachable:
        train.notes.append(f"the hub could not be reached ({unreachable}): the cached copy was read")
    return train, test


def _read(config: DatasetConfig, split: str, setting: str, unreachable: str | None) -> Rows:
    import datasets

    try:
        table = datasets.load_dataset(config.hub, config.subset, split=split, revision=config.revision)
    except (datasets.exceptions.DatasetsError, ValueError, RuntimeError, OSError) as error:
        raise _explained(config, split, setting, unreachable, error) from error
    return HubRows(split, f"hub:{config.hub}@{_revision(config, table, unreachable)}", table)


def _revision(config: DatasetConfig, table: datasets.Dataset, unreachable: str | None) -> str:
    """Return the commit that was read where the library knows it, else what the config asked for."""
    for url in table.info.download_checksums or {}:
        if "@" in url:
            return url.split("@", 1)[1].split("/", 1)[0]
    return "cache" if unreachable else config.revision or "main"


def _explained(config: DatasetConfig, split: str, setting: str, unreachable: str | None, error: Exception) -> DataError:
    import datasets

    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ValueError) and "Unknown split" in text:
        return DataError(f"dataset.{setting}", f"{config.hub} has no split '{split}'", text)
    if isinstance(error, ValueError) and "onfig" in text and "Available" in text.title():
        return DataError("dataset.subset", f"{config.hub} has no subset {config.subset!r}", text)
    if unreachable:
        what = f"{config.hub} is not in the cache, and the hub cannot be reached ({unreachable})"
        return DataError("dataset.source", what, CHOICES)
    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        what = f"{text} (private and gated datasets need `hf auth login`)"
        return DataError("dataset.hub", what, "correct dataset.hub or dataset.revision")
    return DataError(
        "dataset.hub", f"{config.hub} cannot be read from the hub: {type(error).__name__}: {text}", CHOICES
    )
