"""TRL's trainers on rlpipe's prompts and rewards."""

from __future__ import annotations

import pytest

from rlpipe.core.errors import PluginError


@pytest.mark.parametrize("name", ["trl_rloo", pytest.param("trl_grpo", marks=pytest.mark.slow)])
def test_trl_trains_on_our_rewards(training, small_model, tmp_path, name):
    from rlpipe.training.online.trl import audit

    trainer = training.build(small_model, tmp_path, name, max_steps=2)
    before = training.digest(trainer.model)
    found = audit(trainer, training.load(small_model), training.method(name))
    assert found.prompts["kept"] == 16
    assert not found.errors
    trainer.train()
    assert training.digest(trainer.model) != before
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == 2
    assert rows[0]["reward"] == pytest.approx(rows[0]["reward/letters"])


def test_broken_reward_stops_trl_too(training, small_model, tmp_path, monkeypatch):
    trainer = training.build(small_model, tmp_path, "trl_rloo", max_steps=2)
    monkeypatch.setattr(training.Letters, "score", lambda self, rollouts: [])
    with pytest.raises(PluginError, match=r"reward\.letters"):
        trainer.train()
