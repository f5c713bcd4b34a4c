"""Loading a dataset: raw rows in, usable examples of the wanted form out, with a report of everything in between.

    read        from the hub, a local file or folder, or the sample generator
    columns     the required ones must be there
    clean       rows that no method could use are dropped and counted (`clean`)
    hold out    where there is no test split: by a hash of the content, so never the same row in both
    deduplicate repeated rows, and train rows that stand in the test split, are dropped and counted
    convert     to the form that is wanted (`forms.route`)
    limit       train_limit: the first usable rows after a shuffle by seed; test_limit: the first ones
    validation  held-out rows that the test leaves, for measuring while training (`splitting.Parted`)

Limits count rows, not examples, and nothing but `seed` changes which rows they keep: every method
trains and is tested on the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from rlpipe.core.errors import DataError, Problem
from rlpipe.datasets import local
from rlpipe.datasets.base import Chosen, Dataset, LoadReport, Rows, Splits
from rlpipe.datasets.clean import Cleaner, Unscorable, no_rewards, require_columns
from rlpipe.datasets.forms import Converter, Form, form_name, route, ways_from
from rlpipe.datasets.splitting import HELD_OUT, both, hold_out, made_again, only_test

SAMPLE_SEED = 0
"""Sample rows are the same for every seed of a run, as real rows are."""


@dataclass(frozen=True)
class Opened:
    """The raw rows of a dataset, and the way from them to the form that is wanted."""

    dataset: Dataset
    train: Rows | None
    test: Rows | None
    """None where a share of `train` is to be held out."""
    steps: Sequence[Converter]
    forms: list[str]
    """The names of the forms that rows go through, the native one first."""

    @property
    def tested(self) -> Rows:
        """The rows among which those to test on are."""
        rows = self.train if self.test is None else self.test
        assert rows is not None
        return rows

    def choose(self, seed: int, unscorable: Unscorable = no_rewards, validation: int = 0) -> Splits:
        """Find the rows to use. Raises DataError where too few are left; the rest as `load`."""
        dataset, steps = self.dataset, self.steps
        if self.train is None:
            splits = only_test(dataset, self.tested, steps, unscorable)
        elif self.test is None:
            splits = hold_out(dataset, self.train, steps, seed, unscorable, validation)
        else:
            splits = both(dataset, self.train, self.test, steps, seed, unscorable, validation)
        for split in splits.there:
            split.report.converted = self.forms
        return splits

    def again(self, chosen: Mapping[str, tuple[LoadReport, Chosen]]) -> Splits:
        """Return the splits of rows that were chosen earlier: `train`, `test` and perhaps `validation`."""
        assert self.train is not None
        held_out = Cleaner(self.dataset, self.tested, self.steps)
        cleaners = {"train": Cleaner(self.dataset, self.train, self.steps), "test": held_out, "validation": held_out}
        return Splits(**{name: made_again(cleaners[name], *rows) for name, rows in chosen.items()})


def load(
    dataset: Dataset,
    takes: tuple[Form, ...],
    seed: int,
    unscorable: Unscorable = no_rewards,
    train: bool = True,
    largest: int | None = None,
    validation: int = 0,
) -> Splits:
    """Load the splits of a dataset in the form that suits `takes` best. Raises DataError.

    `unscorable` says which rows rewards cannot score; those are dropped. Where no one is to `train`, rows to train on
    need not be there. Of local files of more than `largest` bytes only samples are read, which a note says.
    `validation` is how many held-out rows are set aside for measuring while training; train rows are the same with and
    without them.
    """
    return opened(dataset, takes, seed, train, largest, validation).choose(seed, unscorable, validation)


def opened(
    dataset: Dataset,
    takes: tuple[Form, ...],
    seed: int,
    train: bool = True,
    largest: int | None = None,
    validation: int = 0,
) -> Opened:
    """Open the rows of a dataset, and look at the first ones. The rest as `load`."""
    train_rows, test_rows = read(dataset, seed, train, largest, validation)
    for rows in (train_rows, test_rows):
        if rows is not None:
            _look(dataset, rows)
    found = route(dataset.form, takes)
    if found is None:
        wanted = " or ".join(form_name(form) for form in takes) or "nothing"
        what = f"{dataset.config.name} gives {form_name(dataset.form)} examples, which cannot become {wanted}"
        raise DataError("dataset", what, "choose a dataset or a method that fits")
    form, steps = found
    forms = [form_name(one) for one in (dataset.form, *ways_from(dataset.form)[form])]
    return Opened(dataset, train_rows, test_rows, steps, forms)


def read(
    dataset: Dataset, seed: int, train: bool = True, largest: int | None = None, validation: int = 0
) -> tuple[Rows | None, Rows | None]:
    """Return the raw rows of the train and the test split; None for a test split that is to be held out.

    None for the train split where no one is to `train` and a folder has a test split.
    """
    config = dataset.config
    generated = dataset.make_rows(seed)
    if generated is not None:
        return generated
    if config.source == "sample":
        return _sample(dataset, "train", config.sample_size), _sample_test(dataset, validation)
    if config.source == "hub":
        from rlpipe.datasets import hub

        return hub.read_splits(config)
    source = local.existing(config.source)
    if source.is_file() or config.test_split is None:
        return local.read_split(dataset, source, config.train_split, "train", largest), None
    test = local.read_split(dataset, source, config.test_split, "test", largest)
    return local.read_split(dataset, source, config.train_split, "train", largest) if train else None, test


def _sample(dataset: Dataset, split: str, count: int) -> Rows:
    return Rows(split, "sample", list(dataset.sample(split, count, SAMPLE_SEED)))


def _sample_test(dataset: Dataset, validation: int) -> Rows:
    """Return the test rows, and after them rows for validation alone: as many as the generator has."""
    tested = max(1, dataset.config.sample_size // 8)
    drawn = iter(dataset.sample("test", tested + validation, SAMPLE_SEED))
    rows = list(islice(drawn, tested))
    with suppress(DataError):  # it has no more different ones
        for row in drawn:
            rows.append(row)  # what came before the error is kept
    return Rows("test", "sample", rows, tested=tested)


def _look(dataset: Dataset, rows: Rows) -> None:
    """Raise DataError for a split without rows, or in which a required column never appears."""
    if not len(rows.rows):
        raise DataError(rows.source, f"the split '{rows.split}' is empty", "choose another split, or give data")
    present = local.columns_of(rows.take(range(min(len(rows.rows), local.FIRST))))
    dataset.adapt(present)
    require_columns(dataset, rows.source, present)


def summed_up(name: str, train: LoadReport, test: LoadReport, validation: LoadReport | None = None) -> str:
    """Return in a line what loading came to: rows to train on, watched and held out; what was dropped, and why."""
    parts = [f"data: {name} from {train.source}: {train.kept:,} rows to train on, {test.kept:,} held out"]
    if validation is not None:
        parts[0] += f", {validation.kept:,} watched while training"
    for report in (train, test, *(() if validation is None else (validation,))):
        dropped = {why: count for why, count in report.dropped.items() if why != HELD_OUT}
        if dropped:
            reasons = ", ".join(f"{why}: {count:,}" for why, count in dropped.items())
            parts.append(f"dropped {sum(dropped.values()):,} of {report.read:,} {report.split} rows ({reasons})")
        parts += report.notes
    return "; ".join(parts)


def data_problems(dataset: Dataset, train: bool = True) -> list[Problem]:
    """Return what can be found wrong with a dataset before anything is started.

    Reads no more than the first rows of a local split; imports neither torch nor `datasets`, and asks
    no hub.
    """
    config = dataset.config
    problems = [*_sample_problems(dataset), *dataset.problems()]
    if config.stage and config.source in ("hub", "sample"):  # the run that makes the rows is checked by itself
        return problems
    if config.source == "hub" and not config.hub and type(dataset).make_rows is Dataset.make_rows:
        problems.append(
            Problem("dataset.hub", "no hub id is given", "set dataset.hub, or dataset.source to a file or folder")
        )
    if config.source in ("hub", "sample") or type(dataset).make_rows is not Dataset.make_rows:
        return problems
    try:
        source = local.existing(config.source)
        splits: list[tuple[str, local.Role]] = []
        if source.is_dir() and config.test_split is not None:
            splits.append((config.test_split, "test"))
        if train or not splits:
            splits.insert(0, (config.train_split, "train"))
        for split, role in splits:
            file, rows = local.first_rows(dataset, source, split, role)
            require_columns(dataset, str(file), local.columns_of(rows))
    except DataError as error:
        problems += error.problems
    return problems


def _sample_problems(dataset: Dataset) -> list[Problem]:
    config = dataset.config
    if (
        config.source == "sample"
        and not config.stage
        and type(dataset).sample is Dataset.sample
        and type(dataset).make_rows is Dataset.make_rows
    ):
        what = f"{config.name} has no sample rows"
        return [Problem("dataset.source", what, "set dataset.source to hub, or to a file or folder")]
    return []
