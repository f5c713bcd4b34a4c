"""What rows a run reads is found once for all processes, and again when anything of it has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlpipe.config.schema import RunConfig
from rlpipe.datasets import load
from rlpipe.datasets.ultrafeedback import UltraFeedback
from rlpipe.stages import data
from tests.composed import compose


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often rows are gone through."""
    another_process(monkeypatch)
    found: list[int] = []
    original = load.load
    monkeypatch.setattr(load, "load", lambda *given, **named: found.append(1) or original(*given, **named))
    return found


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_known", {})


def config(store: Path, *overrides: str) -> RunConfig:
    settings = ("model=blank", "dataset=ultrafeedback", "dataset.source=sample", "dataset.sample_size=40")
    return compose("method=dpo", *settings, f"store={store}", *overrides)


def test_the_store_has_it_for_all_seeds_and_methods_settings(tmp_path, monkeypatch, looks):
    first = data.data(config(tmp_path))
    another_process(monkeypatch)
    assert data.data(config(tmp_path, "seed=3", "method.learning_rate=1")) == first
    assert len(looks) == 1
    for override in ("dataset.sample_size=41", "dataset.test_limit=2", "method=kto", "dataset.train_limit=5"):
        data.data(config(tmp_path, override))
    assert len(looks) == 5
    data.data(config(tmp_path, "dataset.train_limit=5", "seed=4"))  # the seed draws others
    assert len(looks) == 6


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"first": [{"form": "None"}]}'])
def test_what_cannot_be_read_is_found_anew(tmp_path, monkeypatch, looks, damage):
    first = data.data(config(tmp_path))
    [file] = (tmp_path / data.FOLDER).iterdir()
    file.write_text(damage)
    another_process(monkeypatch)
    assert data.data(config(tmp_path)) == first
    assert json.loads(file.read_text())["train"] == first.train
    assert len(looks) == 2


def test_files_are_known_by_their_content(tmp_path, monkeypatch, looks):
    file = tmp_path / "rows.jsonl"
    rows = [json.dumps({"prompt": f"{n}", "chosen": "a", "rejected": "b"}) for n in range(40)]
    file.write_text("\n".join(rows))
    run = compose("method=dpo", "model=blank", "dataset=files", f"dataset.source={file}", f"store={tmp_path}")
    first = data.data(run)
    another_process(monkeypatch)
    file.touch()
    assert data.data(run) == first
    assert len(looks) == 1
    file.write_text("\n".join(rows[1:]))
    assert data.data(run).train != first.train
    assert len(looks) == 2


def test_sample_rows_of_a_class_that_does_not_say_so_are_found_each_time(tmp_path, monkeypatch, looks):
    class Theirs(UltraFeedback):
        pass

    run = config(tmp_path)
    monkeypatch.setattr(type(data.resolve(run)), "dataset", Theirs(run.dataset))
    data.data(run)
    another_process(monkeypatch)
    data.data(run)
    assert len(looks) == 2
    assert not (tmp_path / data.FOLDER).exists()


def test_other_code_may_read_rows_otherwise(tmp_path, monkeypatch, looks):
    data.data(config(tmp_path))
    another_process(monkeypatch)
    monkeypatch.setattr(data.identity, "code", lambda: "other")
    data.data(config(tmp_path))
    assert len(looks) == 2
