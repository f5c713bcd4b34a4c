"""Weights train from the step on that their part names, in every kind of trainer, and resumed runs know it."""

from __future__ import annotations

import shutil

import pytest

from rlpipe.config.kinds import MethodConfig
from tests.training.offline.conftest import build_trainer

SCHEDULE = ["top:1@0", "top:2@2", "*embed_tokens*@4"]
PARTS = {"embed_tokens": 4, "layers.0.": 2, "layers.1.": 0, "norm.weight": 0, "lm_head": 0}
"""The parts of the small model, of two layers, and when they train."""


@pytest.fixture
def make(training, small_model):
    """Build a trainer of either kind that freezes what its settings say."""

    def build(run_dir, name, callbacks=(), **options):
        from rlpipe.training.freezing import freeze

        settings = {key: options[key] for key in ("freeze", "layer_decay") if key in options}
        online = name in ("rloo", "ppo", "trl_rloo")
        builder = training.build if online else build_trainer
        trainer = builder(small_model, run_dir, name, callbacks=list(callbacks), **options)
        trainer.thawing = freeze(trainer, MethodConfig(name=name, **settings))
        return trainer

    return build


@pytest.fixture
def watcher():
    """A callback that notes which parts of the model a step has changed."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):
        def __init__(self):
            self.changed = []

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            self.before = {name: weight.detach().clone() for name, weight in model.named_parameters()}

        def on_step_end(self, args, state, control, model=None, **kwargs):
            moved = [name for name, weight in model.named_parameters() if bool((weight != self.before[name]).any())]
            self.changed.append({part for part in PARTS if any(part in name for name in moved)})

    return Watcher()


@pytest.mark.parametrize(
    "name", ["sft", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rloo", "trl_rloo"))]
)
def test_each_part_trains_from_its_step_on(make, watcher, tmp_path, name):
    """Weight decay would move what is frozen too, if the optimiser came to it."""
    trainer = make(tmp_path, name, [watcher], freeze=SCHEDULE, weight_decay=0.1, warmup=0.0)
    trainer.train()
    wanted = [{part for part, first in PARTS.items() if first <= step} for step in range(6)]
    assert watcher.changed == wanted
    assert all(weight.requires_grad for weight in trainer.model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("sft", {}), ("rloo", {}), ("dpo", {"lora_rank": 4})])
def test_a_resumed_run_ends_with_the_same_weights(training, make, tmp_path, name, options):
    """Step 3 lies between two thaws."""
    options = {"every": 3, "freeze": ["top:1@0", "all@4"], "layer_decay": 0.5, **options}
    whole = make(tmp_path / "whole", name, **options)
    whole.train()
    checkpoint = tmp_path / "again" / "checkpoints" / "checkpoint-3"
    shutil.copytree(tmp_path / "whole" / "checkpoints" / checkpoint.name, checkpoint)
    again = make(tmp_path / "again", name, **options)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert training.digest(again.model) == training.digest(whole.model)


def test_rates_fall_from_layer_to_layer(make, tmp_path):
    trainer = make(tmp_path, "ppo", layer_decay=0.5)
    optimizer, rate = trainer.create_optimizer(), trainer.args.learning_rate
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    rates = {
        names[id(weight)]: group["lr"] / rate
        for group in optimizer.param_groups
        for weight in group["params"]
        if id(weight) in names
    }
    assert len(rates) == len(names)
    wanted = {"lm_head": 1, "norm.weight": 1, "layers.1.": 0.5, "layers.0.": 0.25, "embed_tokens": 0.125}
    for name, share in rates.items():
        part = next(part for part in ("layers.0.", "layers.1.", *wanted) if part in name)
        assert share == wanted[part], name
    assert optimizer.param_groups[0]["lr"] == rate, "it is what is logged"
    assert optimizer.param_groups[-1]["lr"] == rate * 10, "the value function keeps its own"


def test_the_audit_is_told_how_many_weights_train_when(make, tmp_path):
    thawing = make(tmp_path, "sft", freeze=["top:1@0", "*layers.0*@5"]).thawing
    first, second, never = thawing.lines()
    assert first.startswith("from step 1: ")
    assert second.startswith("from step 6: ")
    assert never.endswith("weights never train")
    assert thawing.problems(["top:1@0", "*layers.0*@5"]) == []


def test_a_pattern_that_names_nothing_is_told(make, tmp_path):
    written = ["*.layer.1*@0", "all@3"]
    found = make(tmp_path, "sft", freeze=written).thawing.problems(written)
    assert ["names no weight" in one.what for one in found] == [True, False]
    assert "first step" in found[1].what
