"""Completions to read reach the record, the tracker and the terminal."""

from __future__ import annotations

from unittest.mock import Mock

import pytest


@pytest.mark.slow
def test_samples_are_logged_every_so_many_steps(training, small_model, tmp_path, monkeypatch):
    from rlpipe.training import samples
    from rlpipe.training.samples import LogSamples

    said: list[str] = []
    monkeypatch.setattr(samples, "say_detail", said.append)
    record, tracker = Mock(), Mock()
    callbacks = [LogSamples(record, tracker)]
    trainer = training.build(small_model, tmp_path, "rloo", callbacks=callbacks, samples_every=8, max_steps=20)
    trainer.train()
    # A batch is used for 4 steps, so it is drawn before the steps 1, 5, 9, 13, 17.
    assert [call.args[0] for call in record.log_samples.call_args_list] == [1, 9, 17]
    assert [call.args[2] for call in tracker.table.call_args_list] == [1, 9, 17]
    rows = record.log_samples.call_args_list[0].args[1]
    assert len(rows) == 8
    row = rows[0]
    assert row["prompt"] in {"red", "red green", "red green blue", "red green blue seven"}
    assert row["scores"]["letters"]["value"] == row["reward"]
    assert isinstance(row["advantage"], float)
    assert row["calls"] == []
    assert said[1].startswith("step 9: samples\n  train/")


def test_advantages_shown_are_those_trained_on(training, small_model, tmp_path):
    from rlpipe.training.samples import sample_rows

    trainer = training.build(small_model, tmp_path, "rloo", kl_coef=0.0)
    batch, _ = trainer.collector.collect(trainer.model, 0)
    rows = sample_rows(batch)
    rewards = [row["reward"] for row in rows[:4]]
    wanted = rewards[0] - sum(rewards[1:]) / 3
    assert abs(rows[0]["advantage"] - wanted) < 1e-6
