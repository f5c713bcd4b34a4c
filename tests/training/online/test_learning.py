"""A bandit: one token is good. Every method finds it."""

from __future__ import annotations

import json

import pytest

from rlpipe.config.compose import compose
from rlpipe.engines.frozen import ReferenceConfig
from rlpipe.run.run import run

METHODS = ["rloo", "ppo", "grpo", "reinforce", "online_dpo"]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_to_write_what_is_rewarded(training, small_model, tmp_path, name):
    """Completions of two tokens; the reward is the share of lower-case letters, about 0.1 at first."""
    settings = {"batch_size": 32, "minibatches": 1, "epochs_per_batch": 2 if name == "ppo" else 1, "kl_coef": 0.0}
    trainer = training.build(
        small_model,
        tmp_path,
        name,
        learning_rate=0.02,
        max_steps=40,
        every=1000,
        sampling={"max_tokens": 2},
        micro_batch_tokens=4096,
        **settings,
    )
    trainer.train()
    rewards = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    assert rewards[0] < 0.35
    assert sum(rewards[-3:]) / 3 > 0.97
    if name == "ppo":
        explained = [row["explained_variance"] for row in trainer.state.log_history if "explained_variance" in row]
        assert explained[0] == pytest.approx(0, abs=0.05)


def test_a_student_comes_close_to_its_teacher(training, small_model, teacher, tmp_path):
    settings = {"batch_size": 32, "minibatches": 1, "epochs_per_batch": 1, "group_size": 1, "reward": {}, "every": 1000}
    trainer = training.build(
        *(small_model, tmp_path, "distill"),
        teacher=ReferenceConfig(model=str(teacher)),
        learning_rate=1e-2,
        max_steps=20,
        micro_batch_tokens=4096,
        count=64,
        **settings,
    )
    trainer.train()
    distances = [row["kl_from_teacher"] for row in trainer.state.log_history if "kl_from_teacher" in row]
    assert sum(distances[-3:]) < sum(distances[:3]) / 2


def test_a_real_model_learns_while_it_stays_near_its_start(shared_dir, tmp_path):
    """A model of stories that somebody else trained learns to write eight words in place of some twenty."""
    config = compose(
        *("model=hf", f"model.source={shared_dir / 'models' / 'stories260k'}", "dataset=smoltalk"),
        *("dataset.source=sample", "method=rloo", "reward=length", "reward.length.words=8", "evaluation=none"),
        *("method.sampling.max_tokens=48", "method.learning_rate=1e-3", "method.kl_coef=0.01", "method.max_steps=30"),
        *("log.every=1", f"run_dir={tmp_path / 'run'}"),
    )
    run(config, ["dataset.source=sample"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rewards = [row["reward"] for row in rows]
    assert rewards[0] < 0.2
    assert sum(rewards[-5:]) / 5 > 0.8
    assert max(row["kl"] for row in rows) < 3
