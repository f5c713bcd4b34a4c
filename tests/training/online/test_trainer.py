"""The loop: checkpoints that go on exactly, batches that are used as promised, numbers that add up."""

from __future__ import annotations

import math
import shutil

import pytest

from rlpipe.core.errors import DataError, PluginError, Stopped
from rlpipe.engines.frozen import ReferenceConfig
from rlpipe.engines.rollout import Score, ToolCall
from rlpipe.methods.grpo import Normalise
from rlpipe.methods.online import KLIn

METHODS = ("rloo", "grpo", "reinforce", "ppo")
SYNCED = {"sync_reference": 2, "sync_weight": 0.3}


def rows(trainer) -> list[dict]:
    return [row for row in trainer.state.log_history if "loss" in row]


def resumed(training, folder, tmp_path, name, step, **options):
    """Train through, then again from the checkpoint of `step`; return both."""
    options = {"every": step, **options}
    whole = training.build(folder, tmp_path / "whole", name, **options)
    whole.train()
    checkpoint = tmp_path / "again" / "checkpoints" / f"checkpoint-{step}"
    shutil.copytree(tmp_path / "whole" / "checkpoints" / checkpoint.name, checkpoint)
    again = training.build(folder, tmp_path / "again", name, **options)
    before = training.digest(again.model)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert training.digest(again.model) == training.digest(whole.model) != before
    return whole, again


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("grpo", 3),
        *(
            pytest.param(name, step, marks=pytest.mark.slow)
            for name in METHODS
            for step in (3, 4)
            if (name, step) != ("grpo", 3)
        ),
    ],
)
def test_resumed_run_ends_with_the_same_weights(training, small_model, tmp_path, name, step):
    """Step 3 lies inside the passes over one batch of rollouts, step 4 between two batches."""
    whole, again = resumed(training, small_model, tmp_path, name, step)
    assert [row["loss"] for row in rows(again)] == [row["loss"] for row in rows(whole)]
    assert [row["num_tokens"] for row in rows(again)] == [row["num_tokens"] for row in rows(whole)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["online_dpo", "distill"])
def test_resumed_run_goes_on_with_pairs_and_the_teachers_opinion(training, small_model, teacher, tmp_path, name):
    """Step 3 lies inside the passes over one batch of rollouts."""
    options = {"teacher": ReferenceConfig(model=str(teacher))} if name == "distill" else {}
    whole, again = resumed(training, small_model, tmp_path, name, 3, **options)
    assert [row["loss"] for row in rows(again)] == [row["loss"] for row in rows(whole)]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_adapters_with_dropout_resume_exactly(training, small_model, tmp_path, name):
    resumed(training, small_model, tmp_path, name, 5, lora_rank=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("rloo", {}), ("grpo", {}), ("ppo", {}), ("rloo", {"lora_rank": 4})],
)
def test_moved_reference_resumes_exactly(training, small_model, tmp_path, name, options):
    whole, again = resumed(training, small_model, tmp_path, name, 3, **SYNCED, **options)
    one, other = (dict(trainer.collector.reference.copy.named_parameters()) for trainer in (whole, again))
    assert all(bool((one[key] == other[key]).all()) for key in one)


@pytest.mark.slow
def test_resumes_past_the_first_epoch(training, small_model, tmp_path):
    """16 prompts are 4 batches of 4 prompts, 16 steps an epoch with 4 steps a batch."""
    resumed(training, small_model, tmp_path, "rloo", 17, max_steps=20)


@pytest.mark.slow
def test_ppo_resumes_with_a_head_on_the_policy(training, small_model, tmp_path):
    from rlpipe.methods.ppo import ValueFrom

    _, again = resumed(training, small_model, tmp_path, "ppo", 3, value=ValueFrom.head)
    assert again.values.head.weight.abs().sum() > 0
    assert not any("head.weight" in name and "lm_head" not in name for name in again.model.state_dict())


def test_rollouts_in_a_checkpoint_come_back_equal(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "ppo", max_steps=1)
    trainer.train()
    folder = tmp_path / "checkpoints" / "checkpoint-1"
    batch, prompts = trainer.batch, {prompt.id: prompt for prompt in trainer.collector.prompts.kept}
    batch.rollouts[0].calls.append(ToolCall("calculator", {"expression": "1+1"}, "2", failed=False, at=1))
    batch.rollouts[0].written[1] = False
    batch.written[1] = False
    batch.save(folder)
    again = type(batch).load(folder, prompts)
    assert again.rollouts == batch.rollouts
    assert again.group_size == batch.group_size
    for name in ("old", "reference", "values", "advantages", "returns", "penalty", "written", "rewards", "totals"):
        assert bool((getattr(again, name) == getattr(batch, name)).all()), name


def test_every_completion_is_used_once_an_epoch(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo")
    batch, _ = trainer.collector.collect(trainer.model, 0)
    epochs = [[batch.minibatch(part, 2, str(epoch)) for part in range(2)] for epoch in range(2)]
    for parts in epochs:
        assert sorted(parts[0] + parts[1]) == list(range(16))
    assert epochs[0] != epochs[1]
    assert all(
        part[place : place + 4] == list(range(part[place], part[place] + 4)) for part in epochs[0] for place in (0, 4)
    )


@pytest.mark.slow
def test_micro_batches_change_the_result_by_rounding_only(training, small_model, tmp_path):
    losses = []
    for tokens in (64, 100_000):
        trainer = training.build(small_model, tmp_path / str(tokens), "ppo", micro_batch_tokens=tokens)
        trainer.train()
        losses.append([(row["loss"], row["grad_norm"]) for row in rows(trainer)])
    for one, other in zip(*losses, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-6)


def test_logged_reward_is_the_objectives(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo", max_steps=1)
    trainer.train()
    batch, first = trainer.batch, rows(trainer)[0]
    assert first["reward"] == pytest.approx(math.fsum(one.reward for one in batch.rollouts) / 16)
    assert first["reward_after_kl"] == pytest.approx(float(batch.totals.mean()))
    wanted = {"reward/letters", "reward/letters/unparsed", "kl", "entropy", "clip_fraction", "advantage_std"}
    assert wanted | {"completion_length", "ended_by_length", "groups_without_signal"} <= set(first)


def test_truncated_sampling_gets_its_old_log_probabilities_from_the_policy(training, small_model, tmp_path):
    plain = training.build(small_model, tmp_path / "plain", "rloo")
    batch, _ = plain.collector.collect(plain.model, 0)
    assert batch.old.tolist() == pytest.approx([logp for one in batch.rollouts for logp in one.logps])
    cut = training.build(small_model, tmp_path / "cut", "rloo", sampling={"top_k": 3})
    batch, _ = cut.collector.collect(cut.model, 0)
    sampled = [logp for one in batch.rollouts for logp in one.logps]
    assert all(ours < theirs - 1 for ours, theirs in zip(batch.old.tolist(), sampled, strict=True))


def test_kl_counts_in_the_reward_or_in_the_loss(training, small_model, tmp_path):
    for place, penalised in ((KLIn.reward, True), (KLIn.loss, False)):
        trainer = training.build(small_model, tmp_path / place.value, "grpo", kl_in=place, max_steps=2)
        trainer.train()
        assert (trainer.batch.penalty is not None) is penalised
        far = [row["loss"] - row["policy_loss"] for row in rows(trainer)]
        assert (abs(far[1]) > 1e-9) is not penalised


def test_a_teacher_judges_every_token(training, small_model, teacher, tmp_path):
    import torch

    from rlpipe.training.online.forward import sequence_logps

    given = {"teacher": ReferenceConfig(model=str(teacher)), "reward": {}, "max_steps": 1, "sampling": {"top_k": 5}}
    trainer = training.build(small_model, tmp_path, "distill", **given)
    trainer.train()
    batch, start = trainer.batch, training.load(small_model).model
    mine, theirs = (
        torch.cat(sequence_logps(model, batch.rollouts, 1.0, 10_000)) for model in (start, training.load(teacher).model)
    )
    assert batch.advantages.tolist() == pytest.approx((theirs - mine).tolist(), abs=1e-4)
    assert rows(trainer)[0]["kl_from_teacher"] == pytest.approx(float((mine - theirs).mean()), abs=1e-4)
    assert trainer.collector.reference is None
    trainer.watched = trainer.collector.prompts.kept[:8]
    watched = trainer.validate()
    assert set(watched) == {"loss", "loss_low", "loss_high"}
    assert 0 < watched["loss_low"] < watched["loss"]


def test_what_is_only_worth_a_word_stops_nothing(training, small_model, tmp_path):
    """One reward alone is no error: see `GRPO.problems`."""
    assert training.build(small_model, tmp_path, "grpo", normalise=Normalise.each)


def test_without_kl_there_is_no_reference(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo", kl_coef=0.0, max_steps=1)
    assert trainer.collector.reference is None
    trainer.train()
    assert trainer.batch.reference is None
    assert "kl" not in rows(trainer)[0]


def test_a_models_own_dropout_is_off(training, gpt2, tmp_path):
    """With GPT-2's, the policy that learns would differ at random from the one that has drawn."""
    import torch

    from rlpipe.config.kinds import Head, ModelConfig
    from rlpipe.engines.shared_prefix import costs
    from rlpipe.models.pretrained import Pretrained
    from rlpipe.training.online.forward import forward
    from rlpipe.training.online.packing import micro_batches

    config = ModelConfig(name="pretrained", chat_template="plain")
    folder = Pretrained(config).load(str(gpt2), Head.causal_lm, 0, "cpu", tmp_path / "start").path
    trainer = training.build(folder, tmp_path / "run", "rloo", lora_rank=4)
    batch, _ = trainer.collector.collect(trainer.model, 0)
    policy = trainer.model.train()
    (rows,) = micro_batches(batch.rollouts, 10_000, costs(policy))
    scored = forward(policy, rows, 1.0).logps.split([len(rollout.ids) for rollout in rows.rollouts])
    for index, logps in zip(rows.indices, scored, strict=True):
        assert logps.tolist() == pytest.approx(batch.rollouts[index].logps, abs=1e-4)
    dropouts = {name: module.p for name, module in policy.named_modules() if isinstance(module, torch.nn.Dropout)}
    assert {share for name, share in dropouts.items() if "lora" in name} == {0.1}


def test_adapters_are_switched_off_for_the_reference(training, small_model, tmp_path):
    import torch

    trainer = training.build(small_model, tmp_path, "rloo", lora_rank=4)
    assert trainer.collector.reference.copy is None
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    batch, _ = trainer.collector.collect(trainer.model, 0)
    assert float((batch.old - batch.reference).abs().max()) > 0.01
    start = training.load(small_model).model
    from rlpipe.training.online.forward import sequence_logps

    plain = torch.cat(sequence_logps(start, batch.rollouts, 1.0, 10_000))
    assert batch.reference.tolist() == pytest.approx(plain.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    "broken",
    [
        lambda rollouts: 1 / 0,
        lambda rollouts: [Score(float("nan"))] * len(rollouts),
        lambda rollouts: [Score(1.0)],
        lambda rollouts: ["good"] * len(rollouts),
    ],
    ids=["raises", "nan", "count", "string"],
)
def test_nothing_is_trained_on_a_broken_reward(training, small_model, tmp_path, broken):
    trainer = training.build(small_model, tmp_path, "rloo")
    before = training.digest(trainer.model)
    trainer.collector.rewards.rewards["letters"].score = broken
    with pytest.raises(PluginError, match=r"reward\.letters"):
        trainer.train()
    assert training.digest(trainer.model) == before


@pytest.mark.slow
def test_run_that_a_reward_pauses_is_saved_and_goes_on(training, small_model, tmp_path):
    whole = training.build(small_model, tmp_path / "whole", "rloo", every=100)
    whole.train()
    paused = training.build(small_model, tmp_path / "paused", "rloo", every=100)
    reward = paused.collector.rewards.rewards["letters"]
    first = reward.score

    def score(rollouts):
        if paused.state.global_step:
            raise Stopped("", "no budget is left", "")
        return first(rollouts)

    reward.score = score
    with pytest.raises(Stopped):
        paused.train()
    again = training.build(small_model, tmp_path / "paused", "rloo", every=100)
    again.train(resume_from_checkpoint=str(tmp_path / "paused" / "checkpoints" / "checkpoint-4"))
    assert training.digest(again.model) == training.digest(whole.model)


def test_prompts_without_room_are_dropped_and_counted(training, small_model, tmp_path):
    lengths = training.build(small_model, tmp_path, "rloo").collector.prompts.lengths
    shortest = min(lengths)
    trainer = training.build(small_model, tmp_path, "rloo", max_length=shortest + 6)
    report = trainer.collector.prompts.report()
    assert report["too_long"] == sum(length > shortest for length in lengths) > 0
    with pytest.raises(DataError, match=r"needs 4 prompts.*16 of 16 have more than 1 token"):
        training.build(small_model, tmp_path, "rloo", max_length=7)


def test_a_reward_without_any_difference_is_reported(training, small_model, tmp_path, caplog):
    trainer = training.build(small_model, tmp_path, "rloo", max_steps=1, kl_coef=0.0)
    trainer.collector.rewards.rewards["letters"].score = lambda rollouts: [Score(1.0)] * len(rollouts)
    trainer.train()
    assert rows(trainer)[0]["groups_without_signal"] == 1
    assert "learnt nothing" in caplog.text
