"""Reference log-probabilities are computed once for all runs that ask the same, and kept in the store."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from rlpipe.stages.stored import State, Stored, all_stored
from tests.training.offline.conftest import Build

SAME = {"beta": 0.3, "loss": "ipo", "learning_rate": 1e-4}
OTHER = [{"share_prompt": False}, {"micro_batch_size": 2}, {"count": 23}]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def build(build: Build, store: Path) -> Build:
    """Build trainers whose runs have one store."""
    return functools.partial(build, store=store)


def columns(trainer: Any) -> dict[str, list[float]]:
    rows = trainer.train_dataset
    return {name: list(rows[name]) for name in rows.column_names if name.startswith("ref_")}


def test_arms_of_other_beta_loss_or_rate_share_an_entry_and_what_it_depends_on_makes_another(build, tmp_path, store):
    first = build(tmp_path / "first", "dpo")
    [entry] = all_stored(store)
    assert (entry.makes, entry.state()) == ("reference", State.ok)
    assert first.references.notes == [f"computed, and kept in the store ({entry.name})"]
    again = build(tmp_path / "same", "dpo", **SAME)
    assert again.references.notes == [f"taken from the store ({entry.name})"]
    assert columns(again) == columns(first)
    for number, options in enumerate(OTHER, 2):
        build(tmp_path / f"other{number}", "dpo", **options)
        assert len(list(all_stored(store))) == number


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rank"), [("dpo", 4), ("kto", 0)])
def test_training_is_bit_identical_with_numbers_of_the_store(build, weights, tmp_path, store, monkeypatch, name, rank):
    found = []
    for number in range(2):
        trainer = build(tmp_path / str(number), name, lora_rank=rank, max_steps=2)
        trainer.train()
        found.append((weights(trainer.model), columns(trainer)))
    monkeypatch.setattr("rlpipe.stages.entries.Entry.usable", False)
    alone = build(tmp_path / "alone", name, lora_rank=rank, max_steps=2)
    alone.train()
    assert "the store" in alone.references.notes[0]
    assert found[0] == found[1] == (weights(alone.model), columns(alone))


@pytest.mark.slow
def test_adapters_of_another_seed_have_the_same_reference(build, tmp_path, store):
    one, other = (build(tmp_path / str(rank), "dpo", lora_rank=rank) for rank in (2, 4))
    assert columns(one) == columns(other)
    assert len(list(all_stored(store))) == 1


@pytest.mark.parametrize("damage", ["content", pytest.param("record", marks=pytest.mark.slow)])
def test_a_damaged_entry_is_made_again_and_named(build, tmp_path, store, damage):
    first = build(tmp_path / "first", "dpo")
    [entry] = all_stored(store)
    broken = {"content": "reference/logps.safetensors", "record": "result.json"}[damage]
    (entry.folder / broken).write_bytes(b"{")
    again = build(tmp_path / "again", "dpo")
    assert again.references.notes[0].startswith(f"{entry.name} was damaged (")
    assert again.references.notes[1].startswith("computed")
    assert columns(again) == columns(first)
    assert Stored(entry.folder).state() is State.ok
    assert len(list((store / ".damaged").iterdir())) == 1


@pytest.mark.slow
def test_one_that_was_killed_half_way_is_gone_on_with(build, tmp_path, store):
    """A kill leaves a folder with a lease that nobody holds, and perhaps the numbers without a record."""
    build(tmp_path / "first", "dpo")
    [entry] = all_stored(store)
    (entry.folder / "result.json").unlink()
    assert Stored(entry.folder).state() is State.unfinished
    again = build(tmp_path / "again", "dpo")
    assert again.references.notes == [f"computed, and kept in the store ({entry.name})"]
    assert Stored(entry.folder).state() is State.ok


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_copy(build, tmp_path, store):
    first = build(tmp_path / "run", "dpo")
    [entry] = all_stored(store)
    (entry.folder / "reference" / "logps.safetensors").unlink()
    again = build(tmp_path / "run", "dpo")
    assert not again.references.notes
    assert columns(again) == columns(first)


def test_a_store_that_cannot_be_written_is_done_without_and_said(build, tmp_path, store):
    store.write_text("a file")
    trainer = build(tmp_path / "run", "dpo")
    assert trainer.references.notes == [f"computed for this run alone: the store {store} cannot be written"]
    assert columns(trainer)


@pytest.mark.slow
def test_the_store_lists_and_prunes_entries(build, tmp_path, store, capsys):
    from rlpipe.cli import main as cli

    build(tmp_path / "run", "dpo")
    [entry] = all_stored(store)
    assert json.loads((entry.folder / "manifest.json").read_text())["fingerprint_inputs"]["share_prompt"] is True
    for command, said in (
        (["list"], "reference"),
        (["verify"], "1 of 1"),
        (["prune", "--older-than", "0s"], "deleted"),
    ):
        assert cli.status(["stages", "--store", str(store), *command]) == 0
        assert said in capsys.readouterr().out
    assert not list(all_stored(store))
