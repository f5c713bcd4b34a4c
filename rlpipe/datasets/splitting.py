"""Which usable rows are trained on and which are held out, and the report of either split."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from rlpipe.core.errors import DataError
from rlpipe.datasets.base import Dataset, LoadReport, Rows, Split
from rlpipe.datasets.clean import Cleaner, Kept, Unscorable, identity, no_rewards
from rlpipe.datasets.forms import Converter

HELD_OUT = "held out for testing"
BEYOND = "beyond test_limit"


def only_test(
    dataset: Dataset, rows: Rows, steps: Sequence[Converter], unscorable: Unscorable = no_rewards
) -> tuple[Split, Split]:
    """Clean a test split alone, for a run that trains on nothing."""
    tester = Cleaner(dataset, rows, steps, unscorable)
    test = list(tester.clean(range(len(rows.rows))))
    nothing = Split([], LoadReport(dataset.config.train_split, "not read", ""))
    return nothing, _split(tester, _limited(tester, test, dataset.config.test_limit))


def both(
    dataset: Dataset,
    train_rows: Rows,
    test_rows: Rows,
    steps: Sequence[Converter],
    seed: int,
    unscorable: Unscorable = no_rewards,
) -> tuple[Split, Split]:
    """Clean a train and a test split; train rows that stand in the test split are left out."""
    tester = Cleaner(dataset, test_rows, steps, unscorable)
    test = list(tester.clean(range(len(test_rows.rows))))
    trainer = Cleaner(dataset, train_rows, steps, unscorable, known=frozenset(row.digest for row in test))
    train = _train(trainer, dataset, seed, held_out=lambda row: False)
    return _split(trainer, train), _split(tester, _limited(tester, test, dataset.config.test_limit))


def hold_out(
    dataset: Dataset, rows: Rows, steps: Sequence[Converter], seed: int, unscorable: Unscorable = no_rewards
) -> tuple[Split, Split]:
    """Split by `Kept.place`: rows below `test_fraction` are for testing, whatever the seed and the limits."""
    limit, fraction = dataset.config.test_limit, dataset.config.test_fraction
    scout = Cleaner(dataset, rows, steps, unscorable)
    places: list[tuple[float, int]] = []
    wanted = 0
    for row in scout.clean(range(len(rows.rows))):
        places.append((row.place, row.number))
        wanted += row.place < fraction
        # Rows on both sides were seen, so `_bound` would return the fraction as it is.
        if limit is not None and limit < wanted < len(places):
            bound = fraction
            break
    else:
        bound = _bound([place for place, _ in places], fraction, scout)
    tester = Cleaner(dataset, rows, steps, unscorable)
    test = list(tester.clean(number for place, number in places if place < bound))
    trainer = Cleaner(dataset, rows, steps, unscorable)
    train = _train(trainer, dataset, seed, held_out=lambda row: row.place < bound)
    train_split, test_split = _split(trainer, train), _split(tester, _limited(tester, test, limit))
    note = f"there is no test split: about {bound:.1%} of the rows are held out, chosen by a hash of their content"
    train_split.report.notes.append(note)
    test_split.report.notes.append(note)
    return train_split, test_split


def _bound(places: list[float], fraction: float, scout: Cleaner) -> float:
    """Return the place below which rows are held out, moved so that each side has at least one row."""
    distinct = sorted(set(places))
    if len(distinct) < 2:
        count = f"{len(distinct)} usable row" + ("" if len(distinct) == 1 else "s")
        what = f"{count} among {scout.read}{_reasons(scout.dropped)}: nothing can be held out for testing"
        raise DataError(
            scout.rows.source, what, "give at least 2 different rows, or name a test split (dataset.test_split)"
        )
    if fraction <= distinct[0]:
        return distinct[1]
    return min(fraction, distinct[-1])


def _train(cleaner: Cleaner, dataset: Dataset, seed: int, held_out: Callable[[Kept], bool]) -> list[Kept]:
    count, limit = len(cleaner.rows.rows), dataset.config.train_limit
    order: Iterable[int] = range(count)
    if limit is not None and limit < count:
        order = random.Random(seed).sample(range(count), count)
    kept = []
    for row in cleaner.clean(order):
        if held_out(row):
            cleaner.drop(HELD_OUT)
            continue
        kept.append(row)
        # With a limit the rest need not be looked at: the order is random already.
        if limit is not None and len(kept) == limit and cleaner.read < count:
            cleaner.notes.append(f"train_limit: {cleaner.read} of {count} rows, drawn by seed, were enough")
            break
    return kept


def _limited(cleaner: Cleaner, rows: list[Kept], limit: int | None) -> list[Kept]:
    if limit is None or len(rows) <= limit:
        return rows
    cleaner.dropped[BEYOND] = len(rows) - limit
    return rows[:limit]


def _split(cleaner: Cleaner, kept: list[Kept]) -> Split:
    rows = cleaner.rows
    if not kept:
        what = f"no usable row is left of the {cleaner.read} of split '{rows.split}'{_reasons(cleaner.dropped)}"
        raise DataError(rows.source, what, "fix the rows, or give a dataset whose rows can be used")
    notes = [f"{count} rows kept though each {why}" for why, count in cleaner.repeated.items()]
    if cleaner.parts:
        notes.append(f"{cleaner.parts} parts of messages that are no text (images, say) were left out")
    report = LoadReport(
        split=rows.split,
        source=rows.source,
        identity=identity(row.native for row in kept),
        read=cleaner.read,
        kept=len(kept),
        dropped=dict(sorted(cleaner.dropped.items(), key=lambda item: -item[1])),
        notes=[*cleaner.dataset.notes(), *rows.notes, *cleaner.notes, *notes],
    )
    examples = [example for row in kept for example in row.examples]
    return Split(examples, report, [row.native for row in kept], [row.columns for row in kept])


def _reasons(dropped: dict[str, int]) -> str:
    listed = "; ".join(f"{why}: {count}" for why, count in dropped.items())
    return f" ({listed})" if listed else ""
