"""What makes other pairs gives a run another fingerprint; what does not leaves it, and the runs that train on them."""

from __future__ import annotations

import pytest

from rlpipe.stages.fingerprint import describe
from tests.composed import compose

pytestmark = pytest.mark.slow

MAKING = (
    *("method=ai_feedback", "model=blank", "dataset=ultrafeedback", "dataset.sample_size=16", "evaluation=none"),
    *("reward=judge", "reward.judge.url=http://localhost:1/v1", "reward.judge.model=m"),
)


def making(*more: str) -> str:
    return describe(compose(*MAKING, *more)).fingerprint


def training(*more: str, top: tuple[str, ...] = ()) -> str:
    stage = [f"'{override}'" for override in (*MAKING, *more)]
    return describe(
        compose("method=dpo", "model=blank", "dataset=ai_feedback", f"dataset.stage=[{','.join(stage)}]", *top)
    ).fingerprint


@pytest.fixture(scope="module")
def bare() -> tuple[str, str]:
    return making(), training()


@pytest.mark.parametrize(
    "override",
    [
        *("seed=1", "method.samples=4", "method.mode=rubric", "method.margin=0.1", "method.cut=keep"),
        *("method.sampling.temperature=1", "dataset.sample_size=17", "dataset.test_limit=1", "dataset.train_limit=8"),
        *("reward.judge.model=n", "reward.judge.comparison='{first}?{second}'", "reward.judge.high=5"),
    ],
)
def test_what_changes_the_pairs(bare, override):
    assert making(override) != bare[0]


def test_what_changes_the_pairs_changes_what_is_trained_on_them(bare):
    assert training("method.samples=4") != bare[1]
    assert training("reward.judge.model=n") != bare[1]


@pytest.mark.parametrize(
    "override",
    ["method.chunk=5", "reward.judge.budget=9", "reward.judge.retries=1", "log.every=3", "method.learning_rate=1"],
)
def test_what_does_not(bare, override):
    assert making(override) == bare[0]
    assert training(override) == bare[1]


def test_responses_come_from_the_model_that_the_run_starts_from(bare):
    sft = "after=['method=sft','dataset=smoltalk','dataset.sample_size=16']"
    from rlpipe.stages.lineage import parent_config

    run = compose("method=dpo", "model=blank", "dataset=ai_feedback", sft)
    policy = parent_config(run, "dataset.stage")
    assert policy.after == run.after
    assert policy.model.name == "blank"
    own = compose("method=dpo", "model=blank", "dataset=ai_feedback", sft, "dataset.stage=['after=none']")
    assert parent_config(own, "dataset.stage").after == []
