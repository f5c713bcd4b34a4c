"""What a dataset is: a source of raw rows and the one form that a raw row becomes.

To add a dataset: subclass `Dataset`, say its `form` and `columns`, and write `example`. Reading,
checking, deduplicating, converting and reporting are the same for all (`load`, `clean`, `forms`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rlpipe.config.kinds import DatasetConfig
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Example, Form, content

Row = dict[str, Any]


@dataclass
class Rows:
    """The raw rows of one split, as they stand in their source."""

    split: str
    """The split's name in its source; the first part of every example's id."""
    source: str
    """Where the rows came from, for reports and messages."""
    rows: Sequence[Row]
    notes: list[str] = field(default_factory=list)
    tested: int | None = None
    """In a test split: rows from this number on are for validation alone."""

    def take(self, order: Iterable[int]) -> Iterator[Row]:
        """Yield the rows with these numbers, in this order."""
        return (self.rows[number] for number in order)


class Dataset(ABC):
    """One dataset."""

    Config: ClassVar[type[DatasetConfig]] = DatasetConfig
    form: Form
    """The form that `example` gives."""
    columns: tuple[str, ...]
    """The raw columns that a row must have."""
    made: ClassVar[bool] = False
    """Whether the rows that `sample` makes are the real ones: then any model may meet them without a word."""
    fixed: ClassVar[bool] = False
    """Whether its sample rows depend on its settings and rlpipe's own code alone, so that what they are is found once
    for all processes. Subclasses say it anew."""
    verifier: ClassVar[str | None] = None
    """The reward that tells right answers to its prompts from wrong ones, where one does."""

    def __init__(self, config: DatasetConfig):
        self.config = config

    @abstractmethod
    def example(self, row: Row, id: str) -> Example:
        """Make an example of `form` from a raw row.

        Raise ValueError to say in a few general words why a row cannot be used: rows are counted by them.
        """

    def key(self, example: Example) -> str:
        """Return what makes two examples the same one; by default all their text, apart from white space."""
        return content(example)

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return what rewards may read of a raw row, when its example is turned into a prompt."""
        return {}

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield `count` made-up raw rows of a split ("train" or "test"), always the same ones for a seed."""
        raise NotImplementedError(f"{type(self).__name__} has no sample rows")

    def add_columns(self, rows: list[Row], file: Path, whole: bool) -> None:  # noqa: B027
        """Add to the rows of a local file what stands in other files beside it (labels, say).

        `rows` are all of the file's when `whole`, else its first alone.
        """

    def adapt(self, columns: Collection[str]) -> None:  # noqa: B027
        """Look at which columns the rows have, before `form` and `columns` are relied on and any example is made."""

    def notes(self) -> list[str]:
        """Return what was decided about the rows, in sentences for the report."""
        return []

    def parts(self) -> Sequence[Dataset]:
        """Return the datasets that this one is made of, where it is made of others."""
        return ()

    def make_rows(self, seed: int) -> tuple[Rows, Rows] | None:
        """Return the raw train and test rows of a dataset that does not read `config.source` itself."""
        return None

    def problems(self) -> list[Problem]:
        """Return what is wrong with the dataset's own settings. Cheap: reads no data, imports nothing heavy."""
        return []


@dataclass
class LoadReport:
    """What loading did to the rows of one split."""

    split: str
    source: str
    """Where the rows came from: `sample`, `hub:<id>@<revision>`, or a path."""
    identity: str
    """A hash of the rows' content: two loads with the same identity read the same data."""
    read: int = 0
    """Raw rows that were looked at; always `kept` and all that were `dropped` together."""
    kept: int = 0
    """Raw rows that gave examples (a converter may make several from one)."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Why rows were dropped, and how many."""
    converted: list[str] = field(default_factory=list)
    """The forms that the rows went through, native one first."""
    notes: list[str] = field(default_factory=list)
    """What else was decided on the way (a file that stands for the split, rows held out), in sentences."""


@dataclass
class Chosen:
    """The rows of one split that are used: enough to make its examples again from the same source."""

    numbers: array[int]
    """Of the raw rows, in the order in which they are used."""
    counts: array[int]
    """How many examples each gives."""

    def add(self, number: int, examples: int) -> None:
        """Use a row next."""
        self.numbers.append(number)
        self.counts.append(examples)


@dataclass
class Split:
    """The usable examples of one split, with the report of how they were made."""

    examples: Sequence[Example]
    """In the form that was asked for."""
    report: LoadReport
    native: Sequence[Example] = field(default_factory=list)
    """The same rows in the dataset's own form: evaluations make theirs from it."""
    columns: Sequence[dict[str, Any]] = field(default_factory=list)
    """What rewards may read of each of them, where it is turned into a prompt."""
    chosen: Chosen | None = None
    """Which rows they are."""


@dataclass
class Splits:
    """What a run trains on, is tested on, and is watched on."""

    train: Split
    test: Split
    validation: Split | None = None
    """Held-out rows that are measured while training and never at its end; None where none were asked for."""

    @property
    def there(self) -> list[Split]:
        """Those that there are."""
        return [split for split in (self.train, self.test, self.validation) if split is not None]
