"""Pairs that a run has made, as a dataset: by its stage, and from its folder."""

from __future__ import annotations

import json

import pytest

from rlpipe.config.plugins import make
from rlpipe.core.files import write_lines
from rlpipe.datasets.forms import Labelled, Preference
from rlpipe.datasets.load import load
from rlpipe.run.check.check import problems
from tests.composed import compose


def pair(number: int) -> dict:
    asked = {"role": "user", "content": f"What is {number}?"}
    said = {side: [asked, {"role": "assistant", "content": f"{side} {number}"}] for side in ("chosen", "rejected")}
    return {"prompt": asked["content"], "prompt_id": f"train/{number}", **said, "score_chosen": 1.0, "judge": {"a": 1}}


@pytest.fixture
def folder(tmp_path):
    """A run's folder, with rows as a run of method=ai_feedback leaves them."""
    write_lines(tmp_path / "data" / "train.jsonl", map(pair, range(6)))
    write_lines(tmp_path / "data" / "test.jsonl", map(pair, range(6, 9)))
    return tmp_path


def found(*overrides: str) -> list[str]:
    asked = ["model=blank", "method=dpo", "dataset=ai_feedback", *overrides]
    return [str(problem) for problem in problems(compose(*asked), asked) if problem.fatal]


def test_a_folder_of_a_run_or_its_data_is_read(folder):
    for source in (folder, folder / "data"):
        config = compose("dataset=ai_feedback", f"dataset.source={source}").dataset
        splits = load(make("dataset", config), (Preference,), 0)
        assert [one.chosen[0]["content"] for one in splits.test.examples] == [f"chosen {n}" for n in (6, 7, 8)]
        assert len(splits.train.examples) == 6
        assert len(load(make("dataset", config), (Labelled,), 0).train.examples) == 12
    assert found(f"dataset.source={folder}", "method.batch_size=2", "method.micro_batch_size=2") == []


def test_a_folder_without_pairs_is_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    [problem] = found(f"dataset.source={tmp_path}", "dataset.test_split=null")
    assert "needs the columns 'chosen', 'rejected'" in problem
    assert "neither 'hub' nor 'sample'" in found("dataset.source=/nowhere/at/all")[0]


def test_the_default_needs_no_endpoint_and_no_network():
    assert found() == []
    stage = compose("dataset=ai_feedback").dataset.stage
    assert "reward=reward_model" in stage


def test_what_stands_in_its_place_is_checked():
    assert any("no sample rows" in one for one in found("dataset.stage=[]"))
    [problem] = found("dataset.stage=['method=sft','dataset=smoltalk']")
    assert problem.startswith("dataset.stage")
    assert "rows" in problem
    [problem] = found("dataset.stage=['method=ai_feedback','dataset=ultrafeedback','reward=length','method.samples=1']")
    assert problem.startswith("dataset.stage: method.samples: 1 is out of range")


@pytest.mark.slow
def test_dpo_learns_from_pairs_that_another_run_makes_and_shares_them(small_model, tmp_path, monkeypatch):
    from rlpipe.run.run import run

    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    made = [
        *("method=ai_feedback", "dataset=ultrafeedback", "dataset.source=sample", "dataset.sample_size=48"),
        *("reward=length", "reward.length.words=6", "method.samples=6", "method.sampling.max_tokens=24"),
        *("method.cut=keep", "evaluation=none"),
    ]
    stage = "dataset.stage=[" + ",".join(f"'{override}'" for override in made) + "]"

    def dpo(at: str, *more: str) -> dict:
        asked = [
            *("method=dpo", "model=hf", f"model.source={small_model}", "dataset=ai_feedback", stage),
            *("method.learning_rate=3e-3", "method.max_steps=40", "method.batch_size=16", "log.every=1"),
            *("method.max_length=256", "log.progress=false", "hardware.device=cpu", "evaluation=preference"),
            *(*more, f"run_dir='{tmp_path / at}'"),
        ]
        run(compose(*asked), asked)
        return json.loads((tmp_path / at / "result.json").read_text())

    first = dpo("first")
    rows = [json.loads(line) for line in (tmp_path / "first" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[0] == pytest.approx(0.693, abs=0.02)
    assert sum(losses[-5:]) / 5 < 0.4
    assert first["metrics"]["after/preference/accuracy"] >= first["metrics"]["before/preference/accuracy"]
    [folder] = (tmp_path / "store").glob("ai_feedback-*")
    parents = json.loads((tmp_path / "first" / "manifest.json").read_text())["parents"]
    assert set(parents) == {folder.name}
    dpo("second", "seed=1")
    again = json.loads((folder / "manifest.json").read_text())
    assert len(again["attempts"]) == 1, "two seeds share the pairs"
    assert list((tmp_path / "store").glob("ai_feedback-*")) == [folder]
