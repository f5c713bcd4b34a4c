"""Rows of a large dataset, from tokens that the store keeps, are those that a run makes of rows in memory."""

from __future__ import annotations

from typing import Any

import pytest

from rlpipe.datasets import forms
from rlpipe.stages.stored import State, all_stored

CASES: dict[str, tuple[Any, ...]] = {
    "chats": ("sft", forms.Chat, {"max_length": 200}),
    "completions, cut": ("sft", forms.Completion, {"max_length": 80, "overlong": "truncate"}),
    "text": ("sft", forms.Text, {}),
    "packed": ("sft", forms.Completion, {"packing": "bfd", "batch_size": 1, "micro_batch_size": 1}),
    "reward_model": ("reward_model", None, {}),
    "dpo": ("dpo", None, {"max_length": 150}),
    "dpo, a few": ("dpo", None, {"max_steps": 1}),
    "kto": ("kto", None, {"max_length": 120}),
    "orpo": ("orpo", None, {}),
    "simpo": ("simpo", None, {}),
}


def seen(trainer: Any) -> dict[str, Any]:
    """Return all that a run trains on, in its order, and says about it."""
    rows, tokenized = trainer.train_dataset, trainer.tokenized
    batches = [dict(batch.items()) for batch in trainer.get_train_dataloader()]
    return {
        "rows": [dict(rows[row]) for row in range(len(rows))],
        "columns": sorted(rows.column_names),
        "batches": [{name: as_list(value) for name, value in batch.items()} for batch in batches],
        "examples": [example.id for example in tokenized.examples],
        "report": tokenized.report(),
    }


def as_list(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def options(settings: dict[str, Any]) -> dict[str, Any]:
    from rlpipe.methods.offline import Overlong
    from rlpipe.methods.sft import Packing

    kinds = {"overlong": Overlong, "packing": Packing}
    return {name: kinds[name](value) if name in kinds else value for name, value in settings.items()}


FAST = ("kto", "simpo")
"""One whose rows belong together, and so are written, and one whose rows are made when they are looked at."""


@pytest.mark.parametrize(
    "case", [case if case in FAST else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_what_is_trained_on_is_the_same_and_is_tokenised_once(build, tmp_path, monkeypatch, case):
    name, form, settings = CASES[case]
    store, given = tmp_path / "store", options(settings)
    form_given = () if form is None else (form,)
    held = seen(build(tmp_path / "held", name, *form_given, store=store, **given))
    made = build(tmp_path / "first", name, *form_given, store=store, lazily=True, **given)
    assert seen(made) == held
    monkeypatch.setattr("rlpipe.training.offline.tokenized.tokenize", None)
    assert seen(build(tmp_path / "second", name, *form_given, store=store, lazily=True, **given)) == held
    [entry] = [one for one in all_stored(store) if one.makes == "tokens"]
    assert entry.state() is State.ok


def test_what_tokens_depend_on_makes_another_entry_and_no_other_setting(build, tmp_path):
    store = tmp_path / "store"

    def entries(**settings: Any) -> int:
        build(tmp_path / "run", "reward_model", store=store, lazily=True, **settings)
        return len(list(all_stored(store)))

    assert entries() == entries(learning_rate=1e-3, batch_size=4, micro_batch_size=2) == 1
    assert entries(max_length=100) == 2
    assert entries(count=20) == 3


def test_a_run_comes_to_the_rows_that_it_trains_on_and_shows(build, tmp_path, monkeypatch):
    from rlpipe.training.offline import audit

    store = tmp_path / "store"
    build(tmp_path / "first", "reward_model", count=40, store=store, lazily=True)
    monkeypatch.setattr(audit, "SAMPLE", 3)
    trainer = build(tmp_path / "run", "reward_model", count=40, store=store, lazily=True, batch_size=4, max_steps=1)
    looked_at: list[int] = []
    tokens = trainer.tokenized.tokens
    make = tokens.make
    monkeypatch.setattr(tokens, "make", lambda places: looked_at.extend(places) or make(places))
    next(iter(trainer.get_train_dataloader()))
    assert 0 < len(set(looked_at)) <= 4
    assert not (tmp_path / "run" / "data").exists()
