"""Which rows of a large dataset are used: found once, and the same ones that are found anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import DataError, Problem
from rlpipe.datasets import rows as files
from rlpipe.datasets import splitting
from rlpipe.datasets.base import Split, Splits
from rlpipe.datasets.lazily import Lazy
from rlpipe.datasets.load import opened
from rlpipe.stages import rows
from rlpipe.stages.stored import all_stored
from tests.composed import compose

SHAPES: dict[str, Any] = {
    "sft": [{"prompt": f"Ask {n % 50}", "completion": f"Say {n}"} for n in range(60)],
    "kto": [{"prompt": f"Ask {n}", "chosen": f"Say {n}", "rejected": "No" if n % 7 else f"Say {n}"} for n in range(60)],
    "dpo": [{"prompt": f"Ask {n}", "choices": ["a", "b", "c"][: 1 + n % 3], "answer": 0} for n in range(60)],
}
"""Rows in which some repeat or cannot be used, some give two examples, and some one or two."""


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE", 1)
    monkeypatch.setattr(splitting, "LARGE", 5)


def config(folder: Path, method: str = "sft", *overrides: str) -> RunConfig:
    source = folder / "rows.jsonl"
    if not source.exists():
        source.write_text("".join(json.dumps(row) + "\n" for row in SHAPES[method]))
    settings = ("model=blank", "dataset=files", f"dataset.source={source}", f"store={folder.parent / 'store'}")
    return compose(f"method={method}", *settings, "dataset.test_fraction=0.2", "dataset.test_limit=4", *overrides)


def found(run: RunConfig, looks: list[int], validation: int = 3) -> tuple[Splits, list[Problem]]:
    """Return a run's rows; a number is added to `looks` where all are gone through."""
    resolved = resolve(run)
    source = opened(resolved.dataset, resolved.method.takes, run.seed, validation=validation)

    def find() -> tuple[Splits, list[Problem]]:
        looks.append(run.seed)
        return source.choose(run.seed, validation=validation), [Problem("dataset", "weak", "see to it", fatal=False)]

    return rows.found(resolved, source, validation, run.run_dir or Path("run"), find)


def content(split: Split) -> tuple[Any, ...]:
    return list(split.examples), list(split.native), list(split.columns), split.report


@pytest.mark.parametrize(
    ("method", "limit"), [("sft", "20"), ("kto", "null"), pytest.param("dpo", "null", marks=pytest.mark.slow)]
)
def test_rows_are_the_same_held_made_again_and_taken_from_the_store(tmp_path, monkeypatch, method, limit):
    looks: list[int] = []
    (tmp_path / "one").mkdir()
    run = config(tmp_path / "one", method, f"dataset.train_limit={limit}")
    held = found(run, looks)
    assert not list(all_stored(tmp_path / "store"))
    monkeypatch.setattr(files, "LARGE", 1)
    monkeypatch.setattr(splitting, "LARGE", 5)
    for _ in range(2):
        splits, weak = found(run, looks)
        assert isinstance(splits.train.examples, Lazy)
        assert weak == held[1]
        for one, other in zip(splits.there, held[0].there, strict=True):
            assert content(one) == content(other)
    assert len(looks) == 2
    [entry] = all_stored(tmp_path / "store")
    assert entry.makes == "rows"


@pytest.mark.usefixtures("large")
def test_files_that_lie_elsewhere_are_the_same_and_what_rows_depend_on_makes_another_entry(tmp_path):
    looks: list[int] = []
    (tmp_path / "one").mkdir()
    found(config(tmp_path / "one"), looks)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    splits, _ = found(config(tmp_path / "two", "sft", "seed=1", "method.learning_rate=1"), looks)
    assert len(looks) == 1
    assert splits.train.report.source == str(tmp_path / "two" / "rows.jsonl")
    others = ("dataset.test_limit=5", "dataset.deduplicate=false", "dataset.train_limit=9", "dataset.system=drop")
    for override in others:
        found(config(tmp_path / "two", "sft", override), looks)
    found(config(tmp_path / "two"), looks, validation=2)
    with (tmp_path / "two" / "rows.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "One", "completion": "more"}) + "\n")
    found(config(tmp_path / "two"), looks)
    assert len(looks) == len(others) + 3


@pytest.mark.usefixtures("large")
def test_what_is_wrong_with_rows_is_said_as_without_the_store(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 9 + "[]\n")
    with pytest.raises(DataError, match="line 10"):
        found(config(tmp_path / "one"), [])


@pytest.mark.usefixtures("large")
def test_a_plugins_rows_and_tools_answers_are_found_each_time(tmp_path, monkeypatch):
    looks: list[int] = []
    (tmp_path / "one").mkdir()
    run = config(tmp_path / "one")
    monkeypatch.setattr(type(resolve(run).dataset), "__module__", "theirs")
    for _ in range(2):
        found(run, looks)
    assert len(looks) == 2
