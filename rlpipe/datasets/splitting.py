"""Which usable rows are trained on, which are held out for testing or validation, and the report of each split."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from rlpipe.core.errors import DataError
from rlpipe.datasets.base import Chosen, Dataset, LoadReport, Rows, Split, Splits
from rlpipe.datasets.clean import Cleaner, Identity, Kept, Unscorable, no_rewards
from rlpipe.datasets.forms import Converter, Example
from rlpipe.datasets.lazily import Lazy, Places

HELD_OUT = "held out for testing"
BEYOND = "beyond test_limit"
WATCHED = "set aside for validation"
TESTED = "measured in the end"
LARGE = 20_000
"""Rows of a split from which on they are made again whenever they are looked at, instead of being held."""


def only_test(dataset: Dataset, rows: Rows, steps: Sequence[Converter], unscorable: Unscorable = no_rewards) -> Splits:
    """Clean a test split alone, for a run that trains on nothing."""
    tester = Cleaner(dataset, rows, steps, unscorable)
    test = list(tester.clean(range(len(rows.rows))))
    nothing = Split([], LoadReport(dataset.config.train_split, "not read", ""))
    return Splits(nothing, *_held_out(tester, test, dataset.config.test_limit, validation=0))


def both(
    dataset: Dataset,
    train_rows: Rows,
    test_rows: Rows,
    steps: Sequence[Converter],
    seed: int,
    unscorable: Unscorable = no_rewards,
    validation: int = 0,
) -> Splits:
    """Clean a train and a test split; train rows that stand in the test split are left out."""
    tester = Cleaner(dataset, test_rows, steps, unscorable)
    test = list(tester.clean(range(len(test_rows.rows))))
    trainer = Cleaner(dataset, train_rows, steps, unscorable, known=frozenset(row.digest for row in test))
    train = _train(trainer, dataset, seed, held_out=lambda row: False)
    return Splits(_split(trainer, train), *_held_out(tester, test, dataset.config.test_limit, validation))


def hold_out(
    dataset: Dataset,
    rows: Rows,
    steps: Sequence[Converter],
    seed: int,
    unscorable: Unscorable = no_rewards,
    validation: int = 0,
) -> Splits:
    """Split by `Kept.place`: rows below `test_fraction` are for testing, whatever the seed and the limits."""
    limit, fraction = dataset.config.test_limit, dataset.config.test_fraction
    scout = Cleaner(dataset, rows, steps, unscorable)
    places, numbers = array("d"), array("q")
    wanted = 0
    for row in scout.clean(range(len(rows.rows))):
        places.append(row.place)
        numbers.append(row.number)
        wanted += row.place < fraction
        # Rows on both sides were seen, so `_bound` would return the fraction as it is.
        if limit is not None and limit + validation < wanted < len(places):
            bound = fraction
            break
    else:
        bound = _bound(places, fraction, scout)
    tester = Cleaner(dataset, rows, steps, unscorable)
    test = list(tester.clean(number for place, number in zip(places, numbers, strict=True) if place < bound))
    trainer = Cleaner(dataset, rows, steps, unscorable)
    train = _train(trainer, dataset, seed, held_out=lambda row: row.place < bound)
    splits = Splits(_split(trainer, train), *_held_out(tester, test, limit, validation))
    note = f"there is no test split: about {bound:.1%} of the rows are held out, chosen by a hash of their content"
    for split in (splits.train, splits.test):
        split.report.notes.append(note)
    return splits


def _bound(places: Iterable[float], fraction: float, scout: Cleaner) -> float:
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


def _train(cleaner: Cleaner, dataset: Dataset, seed: int, held_out: Callable[[Kept], bool]) -> Iterator[Kept]:
    count, limit = len(cleaner.rows.rows), dataset.config.train_limit
    order: Iterable[int] = range(count)
    if limit is not None and limit < count:
        order = random.Random(seed).sample(range(count), count)
    kept = 0
    for row in cleaner.clean(order):
        if held_out(row):
            cleaner.drop(HELD_OUT)
            continue
        kept += 1
        yield row
        # With a limit the rest need not be looked at: the order is random already.
        if kept == limit and cleaner.read < count:
            cleaner.notes.append(f"train_limit: {cleaner.read} of {count} rows, drawn by seed, were enough")
            break


def _held_out(cleaner: Cleaner, rows: list[Kept], limit: int | None, validation: int) -> tuple[Split, Split | None]:
    """Return the test split, and one of `validation` rows that no test measures (None for 0).

    Validation takes rows beyond the test's limit first. Where these are too few the test gives up rows from its end,
    as many as leave it the larger half.
    """
    tested = [row for row in rows if cleaner.rows.tested is None or row.number < cleaner.rows.tested][:limit]
    measured = {row.digest for row in tested}  # rows may repeat where they are not deduplicated
    watched, given_up = [row for row in rows[len(tested) :] if row.digest not in measured][:validation], 0
    if len(watched) < validation:
        given_up = max(0, min(min(validation, (len(tested) + len(watched)) // 2) - len(watched), len(tested) - 1))
        tested, watched = tested[: len(tested) - given_up], tested[len(tested) - given_up :] + watched
        measured = {row.digest for row in tested}
    watched = [row for row in watched if row.digest not in measured]
    if beyond := len(rows) - len(tested) - len(watched):
        cleaner.dropped[BEYOND] = beyond
    notes = [f"{given_up} rows fewer than without watching: they are watched"] if given_up else []
    if not validation:
        return _split(cleaner, tested), None
    if not watched:
        fix = "raise dataset.test_fraction, give more rows, or set watch.every=null"
        raise DataError(cleaner.rows.source, "no held-out row is left to watch beside those measured in the end", fix)
    dropped, cleaner.dropped = cleaner.dropped, cleaner.dropped | {WATCHED: len(watched)}
    test = _split(cleaner, tested)
    test.report.notes += notes
    cleaner.dropped = dropped | {TESTED: len(tested)}
    ours = _split(cleaner, watched)
    ours.report.split = "validation"
    return test, ours


def _split(cleaner: Cleaner, kept: Iterable[Kept]) -> Split:
    """Gather the rows of a split, of a large one only which they are."""
    rows, identity, chosen = cleaner.rows, Identity(), Chosen(array("q"), array("q"))
    held: list[Kept] = []
    for row in kept:
        identity.add(row.native)
        chosen.add(row.number, len(row.examples))
        if len(chosen.numbers) <= LARGE:
            held.append(row)
        else:
            held.clear()
    if not len(chosen.numbers):
        what = f"no usable row is left of the {cleaner.read} of split '{rows.split}'{_reasons(cleaner.dropped)}"
        raise DataError(rows.source, what, "fix the rows, or give a dataset whose rows can be used")
    notes = [f"{count} rows kept though each {why}" for why, count in cleaner.repeated.items()]
    if cleaner.parts:
        notes.append(f"{cleaner.parts} parts of messages that are no text (images, say) were left out")
    report = LoadReport(
        split=rows.split,
        source=rows.source,
        identity=identity.text,
        read=cleaner.read,
        kept=len(chosen.numbers),
        dropped=dict(sorted(cleaner.dropped.items(), key=lambda item: -item[1])),
        notes=[*cleaner.dataset.notes(), *rows.notes, *cleaner.notes, *notes],
    )
    return _held(held, report, chosen) if held else _lazy(cleaner, report, chosen)


def made_again(cleaner: Cleaner, report: LoadReport, chosen: Chosen) -> Split:
    """Return the split of rows that were chosen earlier from the same source."""
    if len(chosen.numbers) > LARGE:
        return _lazy(cleaner, report, chosen)
    return _held(cleaner.again(chosen.numbers), report, chosen)


def _held(kept: Sequence[Kept], report: LoadReport, chosen: Chosen) -> Split:
    examples = [example for row in kept for example in row.examples]
    return Split(examples, report, [row.native for row in kept], [row.columns for row in kept], chosen)


def _lazy(cleaner: Cleaner, report: LoadReport, chosen: Chosen) -> Split:
    count, places = len(chosen.numbers), Places(chosen.counts)

    def made(rows: Sequence[int]) -> list[Kept]:
        return cleaner.again([chosen.numbers[row] for row in rows])

    def examples(wanted: Sequence[int]) -> list[Example]:
        found = [places.of(place) for place in wanted]
        rows = list(dict.fromkeys(row for row, _ in found))
        by_row = dict(zip(rows, made(rows), strict=True))
        return [by_row[row].examples[number] for row, number in found]

    return Split(
        Lazy(places.count, examples),
        report,
        Lazy(count, lambda rows: [row.native for row in made(rows)]),
        Lazy(count, lambda rows: [row.columns for row in made(rows)]),
        chosen,
    )


def _reasons(dropped: dict[str, int]) -> str:
    listed = "; ".join(f"{why}: {count}" for why, count in dropped.items())
    return f" ({listed})" if listed else ""
