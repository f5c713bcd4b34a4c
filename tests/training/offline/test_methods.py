"""Every method on the small model: it trains, and it is TRL's trainer with TRL's losses."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path

import pytest

from rlpipe.config.kinds import Head
from rlpipe.core.errors import ConfigError
from rlpipe.datasets import forms
from tests.training.offline.conftest import columns_of

METHODS = ("sft", "reward_model", "dpo", "kto", "orpo", "simpo")
BY_HAND = {
    "sft": {"assistant_only_loss": True},
    "reward_model": {"center_rewards_coefficient": 0.01},
    "dpo": {"beta": 0.1, "loss_type": "ipo"},
    "kto": {"beta": 0.1},
    "orpo": {"beta": 0.1},
    "simpo": {"beta": 2.0, "simpo_gamma": 1.0, "loss_type": "simpo", "cpo_alpha": 0.0},
}
OURS = {"reward_model": {"center_rewards_coefficient": 0.01}, "dpo": {"loss": "ipo"}}


def losses(trainer) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize(
    "name", ["dpo", *(pytest.param(name, marks=pytest.mark.slow) for name in METHODS if name != "dpo")]
)
def test_losses_equal_those_of_trl_by_hand(make, build, small_model, tmp_path, name, monkeypatch):
    """TRL prepares the same rows itself, from messages, and takes them in the same order."""
    from datasets import Dataset

    # ORPO's and CPO's trainers put an end-of-sequence token behind the newline that the template ends with.
    bare = (small_model / "chat_template.jinja").read_text().replace("{% endif %}{{ '\n' }}", "{% endif %}")
    ours = build(tmp_path / "ours", name, max_steps=3, template=bare, **OURS.get(name, {}))
    ours.train()

    ours.order.set_epoch(0)
    rows = [columns_of(ours.tokenized.examples[row]) for row in ours.order]
    loaded = make["load"](small_model, Head.reward if name == "reward_model" else Head.causal_lm)
    loaded.tokenizer.chat_template = bare
    library = ours.method.library_config()
    same = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3, "max_steps": 3}
    shape = {"lr_scheduler_type": "cosine", "warmup_steps": 0.1, "logging_steps": 1, "save_strategy": "no"}
    plain = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "report_to": "none", "seed": 1}
    order = {"train_sampling_strategy": "sequential", "max_length": 256, "disable_tqdm": True, "weight_decay": 0.0}
    args = library(output_dir=str(tmp_path / "trl"), **same, **shape, **plain, **order, **BY_HAND[name])
    more = {"ref_model": make["load"](small_model).model} if name in ("dpo", "kto") else {}
    theirs = ours.method.library_trainer()(
        model=loaded.model, args=args, train_dataset=Dataset.from_list(rows), processing_class=loaded.tokenizer, **more
    )
    theirs.train()
    assert losses(ours) == pytest.approx(losses(theirs), rel=2e-4)
    assert all(math.isfinite(loss) for loss in losses(ours))
    assert len(losses(ours)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"packing": "bfd"}, {"packing": "wrapped"}, {"padding_free": True}], ids=str)
def test_sft_trains_packed_and_padding_free(build, tmp_path, options):
    from rlpipe.methods.sft import Packing

    if "packing" in options:
        options = {"packing": Packing(options["packing"]), "batch_size": 2, "micro_batch_size": 1}
    trainer = build(tmp_path, "sft", max_steps=2, count=40, **options)
    trainer.train()
    assert all(math.isfinite(loss) for loss in losses(trainer))
    if "packing" in options:
        assert len(trainer.train_dataset) < 40


@pytest.mark.slow
@pytest.mark.parametrize("form", [forms.Chat, forms.Completion, forms.Text])
def test_sft_takes_every_form_it_says(build, tmp_path, form):
    trainer = build(tmp_path, "sft", form, max_steps=1)
    trainer.train()
    assert math.isfinite(losses(trainer)[0])


def test_sft_on_the_whole_conversation_trains_every_token(build, tmp_path):
    from rlpipe.methods.sft import TrainOn

    trainer = build(tmp_path, "sft", train_on=TrainOn.conversation)
    assert all(row["labels"] == row["input_ids"] for row in trainer.train_dataset)


def test_every_loss_of_trls_dpo_is_known_and_no_other(build, tmp_path):
    from rlpipe.methods.dpo import LOSSES

    text = Path(importlib.import_module("trl.trainer.dpo_trainer").__file__).read_text()
    assert set(LOSSES) == set(re.findall(r'if loss_type == "(\w+)"', text))


def test_unknown_loss_is_refused_with_a_guess(build, tmp_path):
    with pytest.raises(ConfigError, match=r"method\.loss: there is no loss 'sigmoyd'\n.*did you mean 'sigmoid'"):
        build(tmp_path, "dpo", loss="sigmoyd")


def test_reference_free_equals_a_reference_of_zero(build, tmp_path):
    """With a uniform reference the first reward margin is the policy's own."""
    trainer = build(tmp_path, "dpo", reference_free=True, max_steps=1)
    trainer.train()
    first = trainer.state.log_history[0]
    own = 0.1 * (first["logps/chosen"] - first["logps/rejected"])
    assert first["rewards/margins"] == pytest.approx(own, rel=1e-4)
    assert trainer.ref_model is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpo", "kto"])
@pytest.mark.parametrize("rank", [0, 4])
def test_precomputed_reference_gives_the_same_losses_without_a_second_model(build, tmp_path, name, rank):
    once = build(tmp_path / "once", name, max_steps=3, group_by_length=False, lora_rank=rank)
    every = build(
        tmp_path / "every", name, max_steps=3, group_by_length=False, lora_rank=rank, precompute_reference=False
    )
    assert once.ref_model is None
    assert (every.ref_model is None) == (rank > 0)
    # Rows lie by length where the reference is computed first: take them in the same order.
    names = [example.id for example in every.tokenized.examples]
    ids = [example.id for example in once.tokenized.examples]
    batches = [[ids.index(names[row]) for row in batch] for batch in every.order.of_epoch()]
    once.order.of_epoch = lambda: batches
    once.train()
    every.train()
    assert losses(once) == pytest.approx(losses(every), rel=1e-4)
