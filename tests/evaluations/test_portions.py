"""Measuring in portions: what is interrupted goes on, and ends with the rows that it would have had."""

from __future__ import annotations

import json

import pytest

from rlpipe.config.compose import to_plain
from rlpipe.config.kinds import EvaluationConfig
from rlpipe.core.errors import PluginError
from rlpipe.datasets.forms import Example
from rlpipe.evaluations import portions
from rlpipe.evaluations.base import Evaluation
from rlpipe.models.base import Loaded
from rlpipe.records.lease import Lost
from rlpipe.records.record import Record, Status
from tests.composed import compose
from tests.records.takeover import take_over

NOBODY = Loaded(None, None, "")
"""A model that is asked nothing."""


class Squares(Evaluation):
    """Squares numbers, and may be killed at one of them."""

    takes = ()

    def __init__(self, killed_at: int | None = None):
        super().__init__(EvaluationConfig(name="squares"))
        self.killed_at, self.asked = killed_at, []

    def rows(self, loaded, examples):
        numbers = [int(example.id) for example in examples]
        if self.killed_at in numbers:
            raise KeyboardInterrupt
        self.asked.append(numbers)
        return [{"id": str(number), "square": number * number} for number in numbers]

    def summary(self, rows, start):
        return {}


@pytest.fixture
def record(tmp_path):
    made = Record.open(tmp_path / "run", to_plain(compose("method=none", "log.progress=false")))
    yield made
    made.finish(Status.ok, "evaluate")


def measure(record, evaluation, count=300):
    examples = [Example(str(number)) for number in range(count)]
    return portions.measure("squares", evaluation, examples, NOBODY, "before", record)


def kept(record):
    return record.run_dir / "evaluations" / "squares.before.jsonl.part"


def test_all_examples_are_measured_in_order(record):
    one = Squares()
    rows = measure(record, one)
    assert [row["square"] for row in rows] == [number**2 for number in range(300)]
    assert [len(asked) for asked in one.asked] == [128, 128, 44]
    assert record.evaluation("squares", "before") == rows
    assert not kept(record).exists()


def test_an_interrupted_measurement_goes_on_where_a_portion_ended(record):
    with pytest.raises(KeyboardInterrupt):
        measure(record, Squares(killed_at=200))
    assert record.evaluation("squares", "before") is None
    [portion] = map(json.loads, kept(record).read_text().splitlines())
    assert (portion["first"], len(portion["rows"])) == (0, 128)
    with kept(record).open("a") as file:  # a kill in the midst of a portion
        file.write('{"first": 128, "ids": ["128"], "rows": [{"id": "12')
    again = Squares()
    rows = measure(record, again)
    assert [asked[0] for asked in again.asked] == [128, 256]
    assert [row["square"] for row in rows] == [number**2 for number in range(300)]


def late(line, **changes):
    """A portion as another process of the same run would have left it, with other rows than are right."""
    wrong = [{**row, "square": -1} for row in line["rows"]]
    return {**line, "rows": wrong, **changes}


SPOILT = {
    "twice": (lambda one, two: [one, two, late(two)], [256]),
    "too late": (lambda one, two: [one, late(one), two], [128, 256]),
    "missing": (lambda one, two: [late(two)], [0, 128, 256]),
    "in another order": (lambda one, two: [late(two), one], [0, 128, 256]),
    "short": (lambda one, two: [one, {**two, "rows": two["rows"][:-1]}], [128, 256]),
    "too long": (lambda one, two: [one, late(two, rows=two["rows"] + two["rows"][:1])], [128, 256]),
    "of other examples": (lambda one, two: [one, late(two, ids=[*two["ids"][:-1], "1000"])], [128, 256]),
    "no portion": (
        lambda one, two: [one, [], "x", {"rows": 3}, {"first": 128, "ids": two["ids"], "rows": 3}],
        [128, 256],
    ),
    "rows that are none": (lambda one, two: [one, {**two, "rows": [0] * 128}], [128, 256]),
    "rows of an earlier version": (lambda one, two: [*one["rows"], *two["rows"]], [0, 128, 256]),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_portion_that_is_out_of_place_is_never_used(record, name):
    """One that was suspended wakes up and adds what it had measured; the disk loses or mixes up lines."""
    with pytest.raises(KeyboardInterrupt):
        measure(record, Squares(killed_at=260))
    spoil, asked = SPOILT[name]
    lines = spoil(*map(json.loads, kept(record).read_text().splitlines()))
    kept(record).write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = Squares()
    rows = measure(record, again)
    assert [row["square"] for row in rows] == [number**2 for number in range(300)]
    assert [numbers[0] for numbers in again.asked] == asked


class Suspended(Squares):
    """Is suspended in the midst of a portion for so long that another process takes the run over."""

    def rows(self, loaded, examples):
        found = super().rows(loaded, examples)
        if len(self.asked) == 2:
            take_over(self.folder)
        return found


def test_one_that_was_suspended_adds_nothing_to_its_successors_portions(record):
    one = Suspended()
    one.folder = record.run_dir
    with pytest.raises(Lost, match="took this over"):
        measure(record, one)
    assert len(kept(record).read_text().splitlines()) == 1
    assert not (record.run_dir / "evaluations" / "squares.before.jsonl").exists()


def test_examples_that_belong_together_are_measured_at_once(record):
    one = Squares()
    one.whole = True
    measure(record, one)
    assert [len(asked) for asked in one.asked] == [300]


def test_a_wrong_number_of_rows_is_the_plugins_fault(record):
    one = Squares()
    one.rows = lambda loaded, examples: []
    with pytest.raises(PluginError, match=r"evaluation\.squares: gave 0 rows for 128 examples"):
        measure(record, one)


def test_no_examples_are_no_rows(record):
    assert measure(record, Squares(), 0) == []
