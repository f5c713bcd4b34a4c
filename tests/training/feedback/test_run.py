"""Whole runs that make AI feedback, and what their settings are refused for."""

from __future__ import annotations

import json

import pytest

from rlpipe.core.errors import DataError
from rlpipe.run.check.check import problems
from tests.composed import compose, once

pytestmark = pytest.mark.slow


def test_a_run_leaves_rows_and_their_hashes_and_measures_nothing(finished, tmp_path):
    early = finished("evaluation=default", "until=build")
    assert early["result"]["stage"] == "build"
    assert not (tmp_path / "run" / "feedback").exists()
    made = finished("evaluation=default")
    metrics = made["result"]["metrics"]
    assert (made["result"]["status"], made["result"]["stage"]) == ("ok", "evaluate")
    assert len(made["train"]) == metrics["train/kept"] > 0
    assert set(made["manifest"]["data_files"]) == {"train.jsonl", "test.jsonl"}
    assert any("evaluations are left out" in note for note in made["manifest"]["notes"])
    assert not any(key.startswith("before/") for key in metrics)
    assert made["result"]["cost"]["tokens"] > 0
    assert [row["prompt_id"] for row in made["samples"]] == [row["prompt_id"] for row in made["train"][:8]]


def test_a_run_whose_judge_goes_by_the_place_fails_and_says_so(finished, judge, tmp_path):
    judge.reply = lambda question: "Better: A"
    asked = ["reward=judge", "reward.judge.model=m", f"reward.judge.url={judge.url}"]
    with pytest.raises(DataError, match="named the first answer in all"):
        finished("method.mode=pairwise", *asked)
    result, manifest = (json.loads((tmp_path / "run" / f"{n}.json").read_text()) for n in ("result", "manifest"))
    assert (result["status"], result["cost"]["calls"]) == ("failed", len(judge.asked))
    assert any("named the first answer" in note for note in manifest["notes"])


BASE = ("model=blank", "method=ai_feedback", "dataset=ultrafeedback", "reward=length", "evaluation=none")


def found(*overrides: str) -> list[str]:
    asked = once(*BASE, *overrides)
    return [problem.where for problem in problems(compose(*asked), asked)]


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("method.samples=1", "method.samples"),
        ("method.margin=-1", "method.margin"),
        ("method.chunk=0", "method.chunk"),
        ("method.sampling.temperature=0", "method.sampling.temperature"),
        ("method.sampling.max_tokens=512", "method.sampling.max_tokens"),
        ("method.batch_size=8", "method.batch_size"),
        ("method.max_steps=3", "method.max_steps"),
        ("+method.extra.x=1", "method.extra"),
        ("evaluation=perplexity", "evaluation.perplexity"),
        ("reward=none", "reward"),
    ],
)
def test_settings_that_make_no_sense_are_refused(override, where):
    assert found(override) == [where]


def test_pairwise_wants_one_judge_that_compares():
    pairwise = "method.mode=pairwise"
    assert found(pairwise, "method.samples=4") == ["reward.length"]
    judge = ("reward.judge.url=http://localhost/v1", "reward.judge.model=m")
    assert found(pairwise, "method.samples=4", "reward=judge", *judge) == []
    assert found(pairwise, "method.samples=4", "reward=judge", *judge, "reward.judge.mode=reward") == ["reward.judge"]
    assert found(pairwise, "method.samples=4", "reward=[judge,length]", *judge) == ["reward"]
    assert found(pairwise, "method.samples=5", "method.margin=1", "reward=judge", *judge) == [
        "method.samples",
        "method.margin",
    ]
    assert found("method.mode=rubric", "method.samples=3") == ["method.samples"]
