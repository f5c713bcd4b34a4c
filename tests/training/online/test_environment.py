"""Training on episodes: what is learnt from, what is logged, and a checkpoint in the middle of a batch."""

from __future__ import annotations

import pytest

from rlpipe.config.kinds import RewardConfig
from rlpipe.datasets.forms import text_of
from rlpipe.environments.guessing import GuessingConfig


def logged(trainer, name: str) -> list[float]:
    return [row[name] for row in trainer.state.log_history if name in row]


def built(training, small_model, folder):
    """Turns end at one letter or another, for a random model ends few by itself."""
    return training.build(
        small_model,
        folder,
        "rloo",
        environment=GuessingConfig(name="guessing"),
        reward={"environment": RewardConfig(name="environment"), "letters": training.LettersConfig(name="letters")},
        sampling={"max_tokens": 90, "stop": list("aeiou")},
        max_length=256,
        max_steps=2,
    )


@pytest.mark.slow
def test_episodes_are_trained_on_and_kept_in_checkpoints(training, small_model, tmp_path):
    from rlpipe.methods.batch import Batch
    from rlpipe.training.samples import sample_rows

    trainer = built(training, small_model, tmp_path)
    trainer.train()
    batch = trainer.batch
    turns = [rollout.turns for rollout in batch.rollouts]
    assert max(map(len, turns)) > 1
    assert not any(rollout.written[turn.at] for rollout in batch.rollouts for turn in rollout.turns[:-1])
    assert logged(trainer, "turns") == [sum(map(len, turns)) / len(turns)]
    assert logged(trainer, "episodes_finished") == [sum(bool(one) and one[-1].done for one in turns) / len(turns)]
    assert logged(trainer, "reward/environment/guesses")[0] > 1
    assert "Guess my number" in text_of(batch.rollouts[0].prompt.prompt)
    assert len(sample_rows(batch)[0]["episode"]) == len(turns[0])
    collector = trainer.collector
    prompts = {prompt.id: prompt for prompt in collector.sampler.opened(collector.prompts.kept)}
    back = Batch.load(tmp_path / "checkpoints" / "checkpoint-2", prompts)
    assert [vars(one) for one in back.rollouts] == [vars(one) for one in batch.rollouts]
