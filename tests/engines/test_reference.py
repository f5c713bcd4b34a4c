"""A reference that is named: where it is its own start nothing changes, another one changes the loss."""

from __future__ import annotations

import json

import pytest

from rlpipe.config.kinds import Head, ModelConfig
from rlpipe.core.errors import ModelError
from rlpipe.engines.frozen import load_reference as load
from rlpipe.models.pretrained import Pretrained
from rlpipe.run.run import run
from tests.composed import compose, once

SMALL = (
    *("dataset.sample_size=64", "dataset.test_limit=8", "method.max_steps=2", "method.batch_size=4"),
    *("method.max_length=256", "evaluation=none", "log.every=1", "log.progress=false", "hardware.device=cpu"),
    *("model=hf", "dataset.source=sample", "method.learning_rate=1e-3"),
)
OFFLINE = ("dataset=ultrafeedback", "method.micro_batch_size=2")
ONLINE = ("dataset=countdown", "reward=length", "method.group_size=2", "method.sampling.max_tokens=8")


@pytest.fixture(scope="module")
def other_model(small_model, tmp_path_factory):
    """The same model with other weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, folder = AutoModelForCausalLM.from_pretrained(small_model), tmp_path_factory.mktemp("other")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(small_model).save_pretrained(folder)
    return folder


def losses(tmp_path, model, name, *overrides) -> list[float]:
    """Train two steps; returns what was logged at each."""
    folder = tmp_path / name
    asked = once(*SMALL, f"model.source={model}", *overrides, f"run_dir={folder}")
    run(compose(*asked), asked)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows] + [row.get("kl", 0) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("method=dpo", *OFFLINE),
        ("method=dpo", *OFFLINE, "method.precompute_reference=false"),
        ("method=dpo", *OFFLINE, "model.lora.rank=4"),
        ("method=kto", *OFFLINE),
        ("method=rloo", *ONLINE),
        ("method=grpo", *ONLINE, "method.kl_coef=0.5", "model.lora.rank=4"),
        ("method=reinforce", *ONLINE, "method.sync_reference=1"),
    ],
    ids=lambda overrides: "-".join(one.partition("=")[2] for one in overrides if "sample" not in one),
)
def test_the_start_named_is_the_start_and_another_is_another(tmp_path, small_model, other_model, overrides):
    plain = losses(tmp_path, small_model, "plain", *overrides)
    own = losses(tmp_path, small_model, "own", *overrides, f"method.reference.model={small_model}")
    other = losses(tmp_path, small_model, "other", *overrides, f"method.reference.model={other_model}")
    assert own == plain
    assert other != plain


@pytest.fixture
def policy(small_model, tmp_path):
    return Pretrained(ModelConfig(name="pretrained")).load(
        str(small_model), Head.causal_lm, 0, "cpu", tmp_path / "policy"
    )


def test_a_reference_is_frozen_and_has_its_own_weights(policy, other_model, tmp_path):
    import torch

    config = compose("model=blank", "method=dpo", f"method.reference.model={other_model}")
    reference = load(config, policy, tmp_path)
    assert not any(weight.requires_grad for weight in reference.parameters())
    assert not reference.training
    ids = torch.arange(5)[None]
    assert not torch.equal(reference(ids).logits, policy.model(ids).logits)
    assert load(compose("model=blank", "method=dpo"), policy, tmp_path) is None


def test_another_vocabulary_is_refused(policy, small_model, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_model)
    tokenizer.add_tokens(["<other>"])
    model = AutoModelForCausalLM.from_pretrained(small_model)
    model.resize_token_embeddings(len(tokenizer))
    for part in (tokenizer, model):
        part.save_pretrained(tmp_path / "reference")
    config = compose("model=blank", "method=dpo", f"method.reference.model={tmp_path / 'reference'}")
    with pytest.raises(ModelError, match=r"another vocabulary than the policy \(1 entries differ\)"):
        load(config, policy, tmp_path)


def test_a_moving_reference_has_the_policy_s_architecture(policy, small_model, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(small_model)
    config.num_hidden_layers = 1
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "small")
    AutoTokenizer.from_pretrained(small_model).save_pretrained(tmp_path / "small")
    named = ("model=blank", "method=rloo", f"method.reference.model={tmp_path / 'small'}")
    assert load(compose(*named), policy, tmp_path) is not None
    with pytest.raises(ModelError, match="another architecture"):
        load(compose(*named, "method.sync_reference=2"), policy, tmp_path)
