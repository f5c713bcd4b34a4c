"""Rows of before training, shared through the store by runs that start from the same model."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlpipe.config.compose import to_plain
from rlpipe.config.kinds import EvaluationConfig
from rlpipe.datasets.forms import Example, Preference
from rlpipe.evaluations.base import Row
from rlpipe.evaluations.preference import PreferenceAccuracy
from rlpipe.models.base import Loaded
from rlpipe.records.record import Record, Status
from rlpipe.run import reuse
from rlpipe.stages.measurements import all_measurements
from tests.composed import compose


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


PAIRS = [
    Preference(f"test/{i}", said("user", f"What is {i}?"), said("assistant", "a number"), said("assistant", "red"))
    for i in range(4)
]


class Counted(PreferenceAccuracy):
    """Preference, and how often it has looked at a model."""

    def __init__(self, **settings: Any):
        super().__init__(EvaluationConfig(name="preference", **settings))
        self.looked = 0

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        self.looked += 1
        return super().rows(loaded, examples)


Measure = Callable[..., tuple[Record, Counted]]


@pytest.fixture
def measure(tmp_path: Path, blank_loaded: Loaded) -> Measure:
    """Measure pairs before training in a run of its own; returns its record and the evaluation."""
    numbers = iter(range(10))

    def run(
        *overrides: str, loaded: Loaded = blank_loaded, examples: Sequence[Example] = PAIRS, **settings: Any
    ) -> tuple[Record, Counted]:
        config = compose("method=none", "model=blank", f"store={tmp_path / 'store'}", *overrides)
        record, one = Record.open(tmp_path / f"run{next(numbers)}", to_plain(config)), Counted(**settings)
        try:
            reuse.before("preference", one, examples, loaded, record)
        finally:
            record.finish(Status.ok, "evaluate")
        return record, one

    return run


def rows(record: Record) -> bytes:
    return (record.run_dir / "evaluations" / "preference.before.jsonl").read_bytes()


def test_a_second_run_takes_the_rows_and_says_so(measure: Measure) -> None:
    first, one = measure()
    second, other = measure()
    assert (one.looked, other.looked) == (1, 0)
    assert rows(second) == rows(first)
    assert "reused" not in first.manifest
    taken = second.manifest["reused"]["preference.before"]
    assert taken["run"] == str(first.run_dir)
    anew, third = measure(reuse=False)
    assert third.looked == 1
    assert rows(anew) == rows(second)


@pytest.mark.parametrize(
    ("overrides", "others"),
    [
        ([], {"batch_tokens": 64}),
        ([], {"examples": PAIRS[1:]}),
        (["model.precision=bfloat16"], {}),
    ],
    ids=["settings", "rows", "precision"],
)
def test_what_differs_is_measured_anew(measure: Measure, overrides: list[str], others: dict[str, Any]) -> None:
    measure()
    record, one = measure(*overrides, **others)
    assert one.looked == 1
    assert "reused" not in record.manifest


def test_other_weights_are_measured_anew(measure: Measure, blank_loaded: Loaded, tmp_path: Path) -> None:
    measure()
    shutil.copytree(blank_loaded.path, tmp_path / "same")
    _, one = measure(loaded=dataclasses.replace(blank_loaded, path=str(tmp_path / "same")))
    assert one.looked == 0, "weights are known by their content"
    file = tmp_path / "same" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    _, one = measure(loaded=dataclasses.replace(blank_loaded, path=str(tmp_path / "same")))
    assert one.looked == 1


def test_what_does_not_repeat_is_not_kept(measure: Measure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Counted, "repeatable", lambda self: False)
    measure()
    assert list(all_measurements(tmp_path / "store")) == []


def test_damage_is_said_and_measured_again(measure: Measure, tmp_path: Path) -> None:
    first, _ = measure()
    [kept] = all_measurements(tmp_path / "store")
    kept.file.write_bytes(kept.file.read_bytes()[:-3])
    second, one = measure()
    assert one.looked == 1
    assert rows(second) == rows(first)
    assert any("damaged" in note and "measured again" in note for note in second.manifest["notes"])
    assert measure()[1].looked == 0


def test_a_store_that_cannot_be_written_costs_only_the_keeping(measure: Measure, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    record, one = measure()
    assert one.looked == 1
    assert any("not kept for other runs" in note for note in record.manifest["notes"])
