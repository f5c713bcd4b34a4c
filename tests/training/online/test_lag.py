"""A batch behind: drawn with the weights before the last steps, scored and perhaps drawn beside the training."""

from __future__ import annotations

import shutil
import threading

import pytest

from rlpipe.core.errors import Stopped
from rlpipe.methods.online import Correction
from tests.engines.engines import Copied

ONCE = {"minibatches": 1, "epochs_per_batch": 1}
LAG = {"lag": 1, "correction": Correction.truncate}


class Beside(Copied):
    """A copy of the policy that draws in a thread of its own."""

    draws_beside_training = True

    def __init__(self):
        super().__init__()
        self.threads = []

    def write(self, loaded, rows, sampling, endings):
        if not rows[0].id.startswith("freshness/"):
            self.threads.append(threading.current_thread())
        super().write(loaded, rows, sampling, endings)


def engines():
    return {"transformers": lambda: None, "beside": Beside}


@pytest.mark.parametrize("engine", engines())
def test_each_batch_is_drawn_with_the_weights_before_the_last_steps(training, small_model, tmp_path, engine):
    """Without a lag the weights are of now; with it the second batch has those of the start, the third one step's."""
    import torch

    from rlpipe.training.online.forward import sequence_logps

    trainer = training.build(
        small_model, tmp_path, "rloo", engine=engines()[engine](), count=32, max_steps=3, **ONCE, **LAG
    )
    states, batches, collect = [], [], trainer.collector.collect

    def note(policy, *args):
        states.append({name: tensor.clone() for name, tensor in policy.state_dict().items()})
        batch, numbers = collect(policy, *args)
        batches.append(batch)
        return batch, numbers

    trainer.collector.collect = note
    trainer.train()
    model = training.load(small_model).model
    for number, behind in ((0, 0), (1, 0), (2, 1)):
        model.load_state_dict(states[behind])
        found = torch.cat(sequence_logps(model, batches[number].rollouts, 1.0, 10_000))
        assert found.tolist() == pytest.approx(batches[number].engine.tolist(), abs=1e-4)
        model.load_state_dict(states[number])
        now = torch.cat(sequence_logps(model, batches[number].rollouts, 1.0, 10_000))
        assert now.tolist() == pytest.approx(batches[number].old.tolist(), abs=1e-4), "old is of the policy that learns"
        assert batches[number].correction.tolist() == pytest.approx((now - found).exp().clamp(max=2).tolist(), abs=1e-4)
    prompts = [{one.prompt.id for one in batch.rollouts} for batch in batches]
    assert len(set.union(*prompts)) == 6, "each batch has prompts of its own"
    assert trainer.collector.drawing.flight is None, "nothing is begun for a batch that never comes"
    if engine == "beside":
        assert threading.main_thread() not in trainer.collector.sampler.engine.threads


@pytest.mark.parametrize(
    ("name", "step", "options"),
    [
        ("grpo", 3, {}),
        pytest.param("rloo", 4, {}, marks=pytest.mark.slow),
        pytest.param("ppo", 5, {}, marks=pytest.mark.slow),
        pytest.param("grpo", 3, {"engine": "beside"}, marks=pytest.mark.slow),
        pytest.param("online_dpo", 3, {"correction": Correction.none}, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_goes_on_with_what_was_begun(training, small_model, tmp_path, name, step, options):
    """Step 3 lies inside the passes over one batch of rollouts, step 4 between two batches."""
    engine = engines()[options.pop("engine", "transformers")]
    options = {"every": step, "max_steps": 12, **LAG, **options}
    whole = training.build(small_model, tmp_path / "whole", name, engine=engine(), **options)
    whole.train()
    checkpoint = tmp_path / "again" / "checkpoints" / f"checkpoint-{step}"
    shutil.copytree(tmp_path / "whole" / "checkpoints" / checkpoint.name, checkpoint)
    again = training.build(small_model, tmp_path / "again", name, engine=engine(), **options)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert training.digest(again.model) == training.digest(whole.model)


@pytest.mark.slow
def test_a_reward_that_pauses_loses_nothing_that_was_drawn(training, small_model, tmp_path):
    options = {"max_steps": 4, "every": 100, **ONCE, **LAG}
    whole = training.build(small_model, tmp_path / "whole", "rloo", **options)
    whole.train()
    trainer = training.build(small_model, tmp_path / "again", "rloo", **options)
    reward = trainer.collector.rewards.rewards["letters"]
    score, asked = reward.score, []

    def pause(rollouts):
        asked.append(rollouts)
        if len(asked) == 3:
            raise Stopped("reward.letters", "no more", "go on later")
        return score(rollouts)

    reward.score = pause
    with pytest.raises(Stopped):
        trainer.train()
    checkpoint = tmp_path / "again" / "checkpoints" / "checkpoint-2"
    assert (checkpoint / "begun").is_dir()
    again = training.build(small_model, tmp_path / "again", "rloo", **options)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert training.digest(again.model) == training.digest(whole.model)


def test_rewards_are_asked_while_the_policy_is_trained(training, small_model, tmp_path, monkeypatch):
    """The reward of the second batch's completions is only given once the first batch's step is made."""
    monkeypatch.setattr(training.Letters, "scores_beside", True)
    trainer = training.build(small_model, tmp_path, "rloo", max_steps=2, **ONCE, **LAG)
    reward, stepped = trainer.collector.rewards.rewards["letters"], threading.Event()
    score, gradient, scored, waited = reward.score, trainer._gradient, [], []

    def wait(rollouts):
        scored.extend(rollouts)
        if len(scored) > 8:
            waited.append(stepped.wait(30))
        return score(rollouts)

    def step(*args):
        loss = gradient(*args)
        stepped.set()
        return loss

    reward.score, trainer._gradient = wait, step
    trainer.train()
    assert waited
    assert all(waited)
