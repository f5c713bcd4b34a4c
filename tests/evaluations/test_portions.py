"""Measuring in portions: what is interrupted goes on, and ends with the rows that it would have had."""

from __future__ import annotations

import json

import pytest

from rlpipe.config.compose import to_plain
from rlpipe.config.kinds import EvaluationConfig
from rlpipe.core.errors import PluginError
from rlpipe.evaluations import portions
from rlpipe.evaluations.base import Evaluation
from rlpipe.records.record import Record, Status
from tests.composed import compose


class Squares(Evaluation):
    """Squares numbers, and may be killed at one of them."""

    takes = ()

    def __init__(self, killed_at: int | None = None):
        super().__init__(EvaluationConfig(name="squares"))
        self.killed_at, self.asked = killed_at, []

    def rows(self, loaded, examples):
        if self.killed_at in examples:
            raise KeyboardInterrupt
        self.asked.append(list(examples))
        return [{"id": str(number), "square": number * number} for number in examples]

    def summary(self, rows, start):
        return {}


@pytest.fixture
def record(tmp_path):
    made = Record.open(tmp_path / "run", to_plain(compose("method=none", "log.progress=false")))
    yield made
    made.finish(Status.ok, "evaluate")


def measure(record, evaluation, count=300):
    return portions.measure("squares", evaluation, range(count), None, "before", record)


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
    assert len(kept(record).read_text().splitlines()) == 128
    with kept(record).open("a") as file:  # a kill in the midst of a portion
        file.write(json.dumps({"id": "128", "square": 0}) + '\n{"id": "12')
    again = Squares()
    rows = measure(record, again)
    assert [asked[0] for asked in again.asked] == [128, 256]
    assert [row["square"] for row in rows] == [number**2 for number in range(300)]


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
