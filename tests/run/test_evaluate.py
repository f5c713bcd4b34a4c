"""Evaluations within a run: what is planned, recorded, sent to the tracker, and said of changes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from rlpipe.config.compose import to_plain
from rlpipe.config.kinds import EvaluationConfig, Head, TrackerConfig
from rlpipe.config.resolved import resolve
from rlpipe.datasets.base import LoadReport, Split
from rlpipe.datasets.forms import Chat
from rlpipe.datasets.load import load
from rlpipe.evaluations.base import Evaluation
from rlpipe.models.base import Loaded
from rlpipe.records.record import Record, Status
from rlpipe.records.runs import find
from rlpipe.report.compare import compare
from rlpipe.run import evaluate
from rlpipe.trackers.none import NoTracker
from tests.composed import compose

NOBODY: Any = Loaded(model=None, tokenizer=None, path="")
"""What evaluations get that look at no model."""


class Fixed(Evaluation):
    """Scores that were written down beforehand."""

    takes = ()

    def __init__(self, scores, template="one"):
        super().__init__(EvaluationConfig(name="fixed"))
        self.scores, self.template = scores, template
        self.asked: list[int] = []

    def protocol(self, loaded):
        return {"evaluation": "fixed", "template": self.template}

    def rows(self, loaded, examples):
        self.asked = [*self.asked, len(examples)]
        return [{"id": str(number), "score": self.scores[number]} for number in examples]

    def summary(self, rows, start):
        return {"mean": sum(row["score"] for row in rows) / len(rows)}


class Notebook(NoTracker):
    """Keeps what a tracker is sent."""

    def __init__(self):
        super().__init__(TrackerConfig(name="none"))
        self.tables, self.logs = {}, []

    def table(self, name, rows, step):
        self.tables[name] = (len(rows), step)

    def log(self, metrics, step):
        self.logs.append((metrics, step))


@pytest.fixture
def record(tmp_path):
    with_config = Record.open(tmp_path / "run", to_plain(compose("method=none")))
    yield with_config
    with_config.finish(Status.ok, "evaluate")


def planned(config, record, head=Head.causal_lm):
    dataset = resolve(config).dataset
    splits = load(dataset, (dataset.form,), 0)
    return {one.name: one for one in evaluate.plan(resolve(config), head, splits.test, record)}


def measured(record, tracker, before, after):
    numbers = {}
    for when, scores in (("before", before), ("after", after)):
        plans = [evaluate.Planned("fixed", Fixed(scores), range(len(scores)))]
        numbers |= evaluate.measure(plans, NOBODY, when, record, tracker, step=30 if when == "after" else 0)
    return numbers


def test_the_default_takes_what_fits_and_says_what_does_not(record):
    countdown = planned(compose("method=none", "dataset=countdown", "dataset.sample_size=64"), record)
    assert set(countdown) == {"accuracy", "samples"}
    assert len(countdown["samples"].examples) == 4
    assert len(countdown["accuracy"].examples) == 8
    words = planned(compose("method=none", "dataset=gsm8k", "dataset.sample_size=64"), record)
    assert set(words) == {"accuracy", "perplexity", "samples"}
    assert set(words["accuracy"].examples[0].columns) >= {"reference", "question", "answer"}
    pairs = planned(compose("method=none", "dataset=ultrafeedback", "dataset.sample_size=64"), record)
    assert set(pairs) == {"preference", "perplexity", "samples"}
    reason = "evaluation accuracy is left out: no reward tells right answers of dataset ultrafeedback from wrong ones"
    assert reason in record.manifest["notes"]


def test_rows_numbers_and_the_interval_of_the_change(record):
    tracker = Notebook()
    before, after = [0.0, 1.0] * 60, [1.0, 1.0, 0.0, 1.0] * 30
    numbers = measured(record, tracker, before, after)
    assert numbers["before/fixed/mean"] == 0.5
    assert numbers["after/fixed/mean"] == 0.75
    assert numbers["change/fixed/score"] == pytest.approx(0.25)
    assert 0.1 < numbers["change/fixed/low"] < 0.25 < numbers["change/fixed/high"] < 0.4
    assert tracker.tables == {"evaluations/fixed/before": (100, 0), "evaluations/fixed/after": (100, 30)}
    assert tracker.logs[0] == ({"before/fixed/mean": 0.5}, 0)
    assert tracker.logs[1][1] == 30
    assert set(tracker.logs[1][0]) == {"after/fixed/mean", *(f"change/fixed/{end}" for end in ("score", "low", "high"))}
    assert len(record.evaluation("fixed", "after")) == 120


def test_what_an_earlier_attempt_measured_is_not_measured_again(record):
    measured(record, Notebook(), [0.0] * 4, [1.0] * 4)
    tracker = Notebook()
    again = measured(record, tracker, [5.0] * 4, [7.0] * 4)
    assert (again["before/fixed/mean"], again["after/fixed/mean"]) == (0.0, 1.0)
    assert tracker.tables == {}


def test_scores_that_are_no_numbers_have_no_interval(record, capsys):
    numbers = measured(record, Notebook(), [0.0] * 4, [1.0, math.nan, 1.0, 1.0])
    assert not any(key.startswith("change/") for key in numbers)
    assert "no finite numbers" in capsys.readouterr().err


def test_held_out_rows_without_the_form_are_counted_and_said(record):
    """A conversation in which nobody answers has no completion to measure."""
    hello = {"role": "user", "content": "Hello"}
    answered = Chat("test/0", [hello, {"role": "assistant", "content": "Hi"}])
    report = LoadReport("test", "sample", "x")
    split = Split([], report, native=[answered, Chat("test/1", [hello])], columns=[{}, {}])
    config = compose("method=sft", "dataset=smoltalk", "evaluation=perplexity")
    (one,) = evaluate.plan(resolve(config), Head.causal_lm, split, record)
    assert len(one.examples) == 1
    assert "evaluation perplexity leaves 1 held-out rows out: nothing in them to measure" in record.manifest["notes"]


def test_what_rows_depend_on_is_recorded_beside_them(record):
    measured(record, Notebook(), [0.0] * 4, [1.0] * 4)
    file = record.run_dir / "evaluations" / "fixed.protocol.json"
    assert json.loads(file.read_text()) == {"evaluation": "fixed", "template": "one"}


def test_measurements_that_differ_otherwise_have_no_change(record, capsys):
    evaluate.measure([evaluate.Planned("fixed", Fixed([0.0, 0.0]), range(2))], NOBODY, "before", record, Notebook())
    other = evaluate.Planned("fixed", Fixed([1.0, 1.0], template="two"), range(2))
    numbers = evaluate.measure([other], NOBODY, "after", record, Notebook())
    assert set(numbers) == {"after/fixed/mean"}
    note = "evaluation fixed: template differed between measurements, so its change means nothing"
    assert note in record.manifest["notes"]
    assert note in capsys.readouterr().err


@pytest.mark.slow
def test_every_evaluations_protocol_names_dataset_template_and_settings(record, blank_loaded):
    config = compose("method=none", "dataset=gsm8k", "dataset.sample_size=64")
    plans = planned(config, record)
    found = {name: evaluate.measure([one], blank_loaded, "before", record, Notebook()) for name, one in plans.items()}
    assert set(found) == {"accuracy", "perplexity", "samples"}
    for name in found:
        told = json.loads((record.run_dir / "evaluations" / f"{name}.protocol.json").read_text())
        assert told["dataset"] == {"name": "gsm8k", "split": "test", "identity": told["dataset"]["identity"]}
        assert len(told["template"]) == 16
        assert told["evaluation"] == name
    told = json.loads((record.run_dir / "evaluations" / "accuracy.protocol.json").read_text())
    assert told["verifier"] == {"name": "gsm8k", "mode": "strict"}
    assert told["sampling"]["temperature"] == 0.0


def test_evaluations_that_bring_their_own_examples_need_no_dataset(record):
    """The default dataset of a real model stands on the hub, which nobody asks."""
    from rlpipe.run import build

    config = compose("method=none", "model=hf", "model.source=x/y", "evaluation=lm_eval", "dataset=piqa")
    splits = build.data(resolve(config), record)
    assert (splits.train.examples, splits.test.native) == ([], [])
    assert config.dataset.source == "hub"


@pytest.mark.parametrize("after", [[1.0, 1.0, 0.0, 1.0] * 30, [0.2, 0.9, 0.35, 1.0] * 30], ids=["shares", "numbers"])
def test_a_report_of_the_run_gives_the_interval_that_the_run_gives(record, after):
    numbers = measured(record, Notebook(), [0.0, 1.0] * 60, after)
    record.finish(Status.ok, "evaluate", metrics=numbers)
    [difference] = compare(find([record.run_dir])).evaluations[0].differences
    assert difference.baseline == "before"
    shown = (difference.value, difference.low, difference.high)
    assert shown == pytest.approx(tuple(numbers[f"change/fixed/{end}"] for end in ("score", "low", "high")), rel=1e-9)
