"""Runs that make the models of rewards: composed, checked, fingerprinted, and found again."""

from __future__ import annotations

import copy

import pytest

from rlpipe.config.resolved import resolve
from rlpipe.core.errors import StageError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.run.check.check import problems
from rlpipe.stages import store
from rlpipe.stages.fingerprint import describe
from rlpipe.stages.lineage import other_parents
from tests.composed import compose

REWARD = "reward.reward_model.stage=['method=reward_model','method.max_steps=2','evaluation=none']"
ASKED = ("model=blank", "dataset=ultrafeedback", "dataset.sample_size=64", "seed=3", "reward=reward_model", REWARD)


@pytest.fixture
def config(tmp_path):
    return compose(*ASKED, f"store={tmp_path}")


def test_the_run_inherits_model_dataset_and_store_but_not_the_seed(config, tmp_path):
    [(path, run)] = other_parents(config).items()
    assert path == "reward.reward_model.stage"
    assert (run.method.name, run.method.max_steps) == ("reward_model", 2)
    assert (run.model.name, run.dataset.name, run.dataset.sample_size) == ("blank", "ultrafeedback", 64)
    assert (run.seed, run.store) == (0, str(tmp_path))
    named = compose(*ASKED, "reward.reward_model.stage=['method=reward_model','model=blank','model.layers=1','seed=5']")
    [run] = other_parents(named).values()
    assert (run.seed, run.model.layers) == (5, 1)
    assert other_parents(compose("model=blank")) == {}


def test_what_is_wrong_with_it_is_found_before_anything_starts(config):
    found = problems(compose(*ASKED, "reward.reward_model.stage=['method=reward_model','seed=-1']"))
    assert "reward.reward_model.stage: seed" in [one.where for one in found]
    found = problems(compose(*ASKED, "reward.reward_model.stage=['method=nothing']"))
    assert any(one.where.startswith("reward.reward_model.stage: ") for one in found)


def test_a_model_that_is_not_built_is_an_error_that_says_how(config):
    with pytest.raises(StageError, match=r"model of \[method=reward_model,method.max_steps=2,"):
        store.product(config, config.reward["reward_model"].stage)


def test_the_fingerprint_follows_what_changes_scores_and_nothing_else(config, small_model):
    def print_of(**changes):
        changed = copy.deepcopy(config)
        node = changed.reward["reward_model"]
        for name, value in changes.items():
            setattr(node, name, value)
        return describe(changed).fingerprint

    first = print_of()
    assert print_of(batch_tokens=1) == first
    assert print_of(weight=0.5) != first
    assert print_of(stage=["method=reward_model", "method.max_steps=3", "evaluation=none"]) != first
    assert print_of(stage=[], model="some/model") != print_of(stage=[], model="some/model", revision="other")
    local = print_of(stage=[], model=str(small_model))
    assert local == print_of(stage=[], model=f"{small_model}/../{small_model.name}")
    assert "others" not in describe(compose("model=blank")).inputs


@pytest.mark.slow
def test_it_is_built_once_and_its_scores_are_the_trained_model_s(config, tmp_path):
    from rlpipe.config.compose import to_plain
    from rlpipe.records.record import Record
    from rlpipe.rewards.combine import Rewards
    from rlpipe.run.run import run
    from rlpipe.stages.store import parents

    record = Record.open(tmp_path / "run", to_plain(config))
    with parents(config, record, None, run) as needed:
        assert needed.rows() is None
        assert needed.start() is None
    folder = store.product(config, config.reward["reward_model"].stage)
    [name] = record.manifest["parents"]
    assert folder == tmp_path / name / "model"
    built = (folder / "model.safetensors").stat().st_mtime_ns
    with parents(config, record, None, run) as needed:
        needed.start()
    assert (folder / "model.safetensors").stat().st_mtime_ns == built
    rewards = Rewards(resolve(config).make_rewards())
    rewards.start(config, "unused", "cpu", tmp_path / "run")
    prompt = Prompt("train/0", [{"role": "user", "content": "Why?"}])
    rollouts = [Rollout(prompt, [], [], [], [], text, Finish.stop) for text in ("Because.", "No.")]
    rewards.score(rollouts)
    assert rollouts[0].reward == rollouts[0].scores["reward_model"].value != rollouts[1].reward
