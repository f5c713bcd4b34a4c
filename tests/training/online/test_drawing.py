"""Which completions a batch of rollouts has: scored, compared, punished for length, and drawn until they differ."""

from __future__ import annotations

import json
import shutil

import pytest

from rlpipe.engines.rollout import Score
from rlpipe.methods.online_dpo import PairsBy
from rlpipe.rewards.judge.pairwise import Choice


@pytest.mark.parametrize(("tokens", "punished"), [(0, 0), (80, 0), (81, -0.05), (90, -0.5), (100, -1)], ids=str)
def test_overlong_by_hand(tokens, punished):
    from rlpipe.training.online.drawing import overlong

    assert overlong(tokens, 100, 0.2) == pytest.approx(punished)


def test_overlong_equals_trl():
    from trl.rewards import get_soft_overlong_punishment

    from rlpipe.training.online.drawing import overlong

    theirs = get_soft_overlong_punishment(max_completion_len=50, soft_punish_cache=10)
    assert [overlong(tokens, 50, 0.2) for tokens in range(51)] == pytest.approx(
        theirs([[0] * tokens for tokens in range(51)])
    )


def test_what_is_too_long_earns_less_and_is_logged(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo", overlong_buffer=0.5)
    batch, numbers = trainer.collector.collect(trainer.model, 0)
    assert {len(one.ids) for one in batch.rollouts} == {6}
    assert numbers["reward/overlong"] == -1
    assert numbers["reward"] == pytest.approx(numbers["reward/letters"] - 1)


class Unequal:
    """Gives groups of every other prompt a difference, until `upto` groups have got one."""

    def __init__(self, upto: int = 10**9):
        self.given, self.upto, self.scored = 0, upto, []

    def __call__(self, rollouts):
        self.scored += [one.prompt.id for one in rollouts[::4]]
        scores = []
        for start in range(0, len(rollouts), 4):
            differs = rollouts[start].prompt.columns["row"] % 2 == 0 and self.given < self.upto
            self.given += differs
            scores += [Score(float(place)) if differs else Score(1.0) for place in range(4)]
        return scores


def dynamic(training, small_model, tmp_path, bound: int, **options):
    """Return a trainer with 4 groups of 4 to a batch; about every second group has a signal."""
    return training.build(small_model, tmp_path, "grpo", dynamic_sampling=bound, kl_coef=0.0, **options)


def test_prompts_are_drawn_until_every_group_has_a_signal(training, small_model, tmp_path):
    trainer = dynamic(training, small_model, tmp_path, 9)
    trainer.collector.rewards.rewards["letters"].score = reward = Unequal()
    batch, numbers = trainer.collector.collect(trainer.model, 0)
    assert numbers["draws"] == len(reward.scored) / 4 > 1
    prompts = [one.prompt.id for one in batch.rollouts[::4]]
    wanted = [
        one.id for number in range(9) for one in trainer.collector.prompts.of(number) if one.columns["row"] % 2 == 0
    ]
    assert prompts == wanted[:4]
    assert numbers["groups_without_signal"] == 1 - reward.given / len(reward.scored)
    reward.scored.clear()
    trainer.collector.collect(trainer.model, 1)
    assert reward.scored[:4] == [one.id for one in trainer.collector.prompts.of(int(numbers["draws"]))]


@pytest.mark.parametrize("having", [0, 3])
def test_the_bound_holds_and_groups_without_signal_make_up_the_rest(training, small_model, tmp_path, having):
    trainer = dynamic(training, small_model, tmp_path, 2)
    trainer.collector.rewards.rewards["letters"].score = reward = Unequal(having)
    batch, numbers = trainer.collector.collect(trainer.model, 0)
    assert numbers["draws"] == 3
    assert len(reward.scored) == 12
    groups = [batch.rollouts[start : start + 4] for start in range(0, 16, 4)]
    assert sum(len({one.reward for one in group}) > 1 for group in groups) == having
    assert trainer.collector.drawing.extra == 2


def test_without_dynamic_sampling_one_batch_of_prompts_is_drawn(training, small_model, tmp_path):
    trainer = dynamic(training, small_model, tmp_path, 0)
    trainer.collector.rewards.rewards["letters"].score = reward = Unequal()
    batch, numbers = trainer.collector.collect(trainer.model, 0)
    assert [one.prompt.id for one in batch.rollouts[::4]] == reward.scored
    assert "draws" not in numbers


@pytest.mark.slow
def test_a_resumed_run_draws_the_prompts_that_come_next(training, small_model, tmp_path):
    """Step 4 lies between two batches, of which the first took several draws."""
    whole = dynamic(training, small_model, tmp_path / "whole", 9, every=4)
    whole.collector.rewards.rewards["letters"].score = reward = Unequal()
    whole.train()
    checkpoint = tmp_path / "again" / "checkpoints" / "checkpoint-4"
    shutil.copytree(tmp_path / "whole" / "checkpoints" / checkpoint.name, checkpoint)
    extra = json.loads((checkpoint / "online_state.json").read_text())["extra"]
    assert 0 < extra < whole.collector.drawing.extra
    again = dynamic(training, small_model, tmp_path / "again", 9, every=4)
    again.collector.rewards.rewards["letters"].score = rest = Unequal()
    again.train(resume_from_checkpoint=str(checkpoint))
    assert training.digest(again.model) == training.digest(whole.model)
    assert rest.scored == reward.scored[-len(rest.scored) :]


def test_a_judge_that_compares_gives_the_better_one_1(training, small_model, tmp_path, monkeypatch):
    """The judge likes what comes first in the alphabet, then what is shown first."""

    def prefer(pairs):
        return [Choice.first if one.first < one.second else Choice.second for one in pairs]

    monkeypatch.setattr(training.Letters, "compares", True)
    trainer = training.build(small_model, tmp_path, "online_dpo", group_size=2, pairs=PairsBy.comparison)
    trainer.collector.rewards.rewards["letters"].prefer = prefer
    batch, numbers = trainer.collector.collect(trainer.model, 0)
    for one, other in zip(batch.rollouts[::2], batch.rollouts[1::2], strict=True):
        assert (one.reward, other.reward) == ((1, 0) if one.text < other.text else (0, 1))
    assert numbers["reward"] == 0.5
    assert set(batch.advantages.tolist()) == {1, -1}
    trainer.collector.rewards.rewards["letters"].prefer = lambda pairs: [Choice.first] * len(pairs)
    batch, numbers = trainer.collector.collect(trainer.model, 1)
    assert numbers["groups_without_signal"] == 1
    assert not batch.advantages.any()
