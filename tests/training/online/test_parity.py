"""On the same rollouts, losses and gradients are those of TRL's RLOO, GRPO and online DPO trainers."""

from __future__ import annotations

from typing import Any

import pytest

from rlpipe.methods.grpo import Normalise, Ratio, Scale, Surrogate
from rlpipe.methods.online import Aggregate
from rlpipe.methods.online_dpo import PairLoss

WHOLE = {"minibatches": 1, "epochs_per_batch": 2, "batch_size": 16}
LENGTHS = {"max_tokens": 10, "stop": ["a", "e", "i", "o", "u", "A", "E"]}


def disturb(model: Any, size: float, seed: int) -> None:
    import torch

    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(size * torch.randn(weight.shape, generator=noise))


def trl_trainer(kind: str, folder, batch, tmp_path, **settings: Any) -> tuple[Any, list[dict]]:
    """Build TRL's trainer, which gets our completions and rewards in place of its own."""
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.rewards import get_soft_overlong_punishment

    rows = [{"prompt": one.prompt.prompt} for one in batch.rollouts]
    own = {"num_generations": 4, "max_completion_length": 10, "per_device_train_batch_size": 16, "use_cpu": True}
    plain = {"bf16": False, "gradient_checkpointing": False, "report_to": "none", "logging_steps": 1}
    if "overlong" in batch.rollouts[0].scores:
        punished = get_soft_overlong_punishment(max_completion_len=10, soft_punish_cache=5)
        rewards = [lambda completions, **_: [one.scores["letters"].value for one in batch.rollouts], punished]
    else:
        rewards = [lambda completions, **_: [one.reward for one in batch.rollouts]]
    config = getattr(trl, f"{kind}Config")(output_dir=str(tmp_path / "trl"), **own, **plain, **settings)
    trainer = getattr(trl, f"{kind}Trainer")(
        model=AutoModelForCausalLM.from_pretrained(folder),
        reward_funcs=rewards,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    prompt_ids, ids = ([getattr(one, name) for one in batch.rollouts] for name in ("prompt_ids", "ids"))
    said = [[{"role": "assistant", "content": one.text}] for one in batch.rollouts]
    given = (prompt_ids, ids, said) if kind == "RLOO" else (prompt_ids, ids, None, said, None, {}, None, [])
    trainer._generate = lambda prompts: given
    trainer.current_gradient_accumulation_steps = 1
    return trainer, rows


def both(training, small_model, tmp_path, kind: str, ours: dict, theirs: dict) -> None:
    import torch

    ours = dict(ours)

    sampling = {**LENGTHS, "temperature": ours.pop("temperature", 1.0)}
    trainer = training.build(small_model, tmp_path / "ours", kind.lower(), **WHOLE, sampling=sampling, **ours)
    disturb(trainer.model, 0.02, 1)
    batch, _ = trainer.collector.collect(trainer.model, 0)
    assert len(set(batch.lengths.tolist())) > 1
    other, rows = trl_trainer(kind, small_model, batch, tmp_path, **theirs)
    disturb(other.model, 0.02, 1)
    inputs = other._generate_and_score_completions(rows)
    first = batch.starts
    assert batch.advantages[first].tolist() == pytest.approx(inputs["advantages"].tolist(), rel=1e-4, abs=1e-5)
    for model in (trainer.model, other.model):
        model.train()
        disturb(model, 0.01, 2)
    batch.advantages = torch.repeat_interleave(inputs["advantages"], batch.lengths)
    loss = trainer._gradient(trainer.model, batch, list(range(16)))
    expected = other._compute_loss(other.model, inputs)
    expected.backward()
    # The loss is a sum of terms of both signs: rounding is relative to them, not to what is left.
    terms = float(inputs["advantages"].abs().mean())
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-5 * terms)
    names = dict(other.model.named_parameters())
    mine = torch.cat([weight.grad.view(-1) for _, weight in trainer.model.named_parameters()])
    his = torch.cat([names[name].grad.view(-1) for name, _ in trainer.model.named_parameters()])
    assert float((mine - his).norm() / his.norm()) < 1e-5
    assert float(his.norm()) > 0
    clipped = sum(trainer._metrics["clip_fraction"])
    assert clipped > 0, "the clip was never active, so the test shows little"


@pytest.mark.parametrize("beta", [pytest.param(0.0, marks=pytest.mark.slow), 0.05])
def test_rloo_equals_trl(training, small_model, tmp_path, beta):
    both(training, small_model, tmp_path, "RLOO", {"kl_coef": beta}, {"beta": beta})


def test_rloo_equals_trl_at_another_temperature(training, small_model, tmp_path):
    ours = {"kl_coef": 0.05, "clip": 0.1, "temperature": 0.7}
    both(training, small_model, tmp_path, "RLOO", ours, {"beta": 0.05, "temperature": 0.7, "epsilon": 0.1})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param({"kl_coef": 0.04}, {"beta": 0.04, "loss_type": "grpo"}, marks=pytest.mark.slow),
        pytest.param(
            {"scale": Scale.none, "lengths": Aggregate.constant, "kl_coef": 0.0},
            {"loss_type": "dr_grpo", "beta": 0.0},
            marks=pytest.mark.slow,
        ),
        (
            {"lengths": Aggregate.token, "clip_high": 0.28, "kl_coef": 0.01},
            {"loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.01},
        ),
        pytest.param(
            {"scale": Scale.batch, "kl_coef": 0.0},
            {"loss_type": "grpo", "beta": 0.0, "scale_rewards": "batch"},
            marks=pytest.mark.slow,
        ),
        (
            {"ratio": Ratio.sequence, "clip": 3e-3, "clip_high": 4e-3, "kl_coef": 0.0, "entropy_coef": 0.3},
            {
                "loss_type": "grpo",
                "importance_sampling_level": "sequence",
                "beta": 0.0,
                "entropy_coef": 0.3,
                "epsilon": 3e-3,
                "epsilon_high": 4e-3,
            },
        ),
        (
            {
                "surrogate": Surrogate.cispo,
                "clip": 1.0,
                "clip_high": 0.05,
                "lengths": Aggregate.token,
                "normalise": Normalise.each,
                "overlong_buffer": 0.5,
                "kl_coef": 0.0,
            },
            {
                "loss_type": "cispo",
                "epsilon_high": 1.05,
                "beta": 0.0,
                "multi_objective_aggregation": "normalize_then_sum",
            },
        ),
    ],
    ids=["grpo", "dr_grpo", "dapo", "batch_scale", "gspo_entropy", "cispo_gdpo_overlong"],
)
def test_grpo_equals_trl(training, small_model, tmp_path, ours, theirs):
    if ours.get("scale") is Scale.none:
        theirs = {**theirs, "scale_rewards": "none"}
    # Two iterations make TRL keep the old log-probabilities.
    both(training, small_model, tmp_path, "GRPO", ours, {**theirs, "num_iterations": 2})


def online_dpo_trainer(folder, batch, tmp_path, **settings: Any) -> Any:
    """Build TRL's online DPO, which gets our pairs: all first completions, then all second ones."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    rollouts = [*batch.rollouts[::2], *batch.rollouts[1::2]]
    plain = {"bf16": False, "gradient_checkpointing": False, "report_to": "none", "max_new_tokens": 10}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trainer = OnlineDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        ref_model=AutoModelForCausalLM.from_pretrained(folder),
        reward_funcs=lambda completions, **_: [one.reward for one in rollouts],
        args=OnlineDPOConfig(output_dir=str(tmp_path / "trl"), use_cpu=True, **plain, **settings),
        train_dataset=Dataset.from_list([{"prompt": one.prompt.prompt} for one in batch.rollouts[::2]]),
        processing_class=tokenizer,
    )

    def padded(rows: list[list[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, rows))
        pads = [[tokenizer.pad_token_id] * (width - len(row)) for row in rows]
        ids = [pad + row if left else row + pad for row, pad in zip(rows, pads, strict=True)]
        kept = [[0] * len(pad) + [1] * len(row) for row, pad in zip(rows, pads, strict=True)]
        return torch.tensor(ids), torch.tensor([bits if left else bits[::-1] for bits in kept])

    given = (*padded([one.prompt_ids for one in rollouts], True), *padded([one.ids for one in rollouts], False), None)
    trainer._generate = lambda model, prompts, images: given
    return trainer


@pytest.mark.parametrize("loss", [PairLoss.sigmoid, pytest.param(PairLoss.ipo, marks=pytest.mark.slow)])
def test_online_dpo_equals_trl(training, small_model, tmp_path, loss):
    import torch

    ours = {**WHOLE, "group_size": 2, "loss": loss, "beta": 0.5, "micro_batch_tokens": 96}
    trainer = training.build(small_model, tmp_path / "ours", "online_dpo", **ours, sampling=LENGTHS, dynamic_sampling=9)
    batch, _ = trainer.collector.collect(trainer.model, 0)
    assert len(set(batch.lengths.tolist())) > 1
    assert batch.advantages.abs().min() == 1, "TRL makes pairs of equals too"
    other = online_dpo_trainer(small_model, batch, tmp_path, beta=0.5, loss_type=loss.value)
    for model in (trainer.model, other.model):
        disturb(model, 0.02, 2)
    value = float(trainer._gradient(trainer.model, batch, list(range(16))))
    expected = other.training_step(other.model, {"prompt": [one.prompt.prompt for one in batch.rollouts[::2]]})
    assert value == pytest.approx(float(expected), rel=1e-5)
    names = dict(other.model.named_parameters())
    mine = torch.cat([weight.grad.view(-1) for _, weight in trainer.model.named_parameters()])
    his = torch.cat([names[name].grad.view(-1) for name, _ in trainer.model.named_parameters()])
    assert float((mine - his).norm() / his.norm()) < 1e-5 < float(his.norm())
