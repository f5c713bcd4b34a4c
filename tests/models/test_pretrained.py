from __future__ import annotations

import json

import pytest

from rlpipe.config.kinds import Head, ModelConfig, Precision, Quantize
from rlpipe.core.errors import ModelError
from rlpipe.models.pretrained import Pretrained


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (Precision.float32, "torch.float32"),
        (Precision.bfloat16, "torch.float32"),
        (Precision.pure_bfloat16, "torch.bfloat16"),
    ],
)
def test_weights_by_precision(small, load, precision, dtype):
    assert {str(weight.dtype) for weight in load(small, precision=precision).model.parameters()} == {dtype}


def test_half_precision_files_are_widened(shared_dir, load):
    loaded = load(shared_dir / "models" / "stories15m")
    assert {str(weight.dtype) for weight in loaded.model.parameters()} == {"torch.float32"}


def test_a_prepared_model_is_used_where_it_is(small, load, tmp_path):
    loaded = load(small)
    assert loaded.path == str(small) == loaded.model.config._name_or_path
    assert loaded.notes == []
    assert not (tmp_path / "start").exists()


def test_attention(small, load):
    assert load(small, attention="eager").model.config._attn_implementation == "eager"
    with pytest.raises(ModelError, match=r"model\.attention"):
        load(small, attention="sdpaa")


def test_reward_head_comes_from_the_seed(small, load):
    import torch

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (load(small, head=Head.reward, seed=seed).model.score.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (1, 32)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_reward_head_is_noted_and_pads(small, load):
    loaded = load(small, head=Head.reward)
    assert "reward head: new, from the seed" in loaded.notes
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id


def test_a_trained_reward_model_keeps_its_head(small, load, tmp_path):
    import torch

    first = load(small, head=Head.reward, seed=1)
    first.model.save_pretrained(tmp_path / "reward")
    first.tokenizer.save_pretrained(tmp_path / "reward")
    again = load(tmp_path / "reward", head=Head.reward, seed=2)
    assert torch.equal(first.model.score.weight, again.model.score.weight)
    assert again.notes == []
    with pytest.raises(ModelError, match="holds a reward model"):
        load(tmp_path / "reward")


def test_no_source():
    with pytest.raises(ModelError, match=r"model\.source: is not given"):
        Pretrained(ModelConfig(name="pretrained")).load(None, Head.causal_lm, 0, "cpu", None)


def test_quantisation_names_everything_that_is_missing(small, load, monkeypatch):
    import importlib.util

    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="no CUDA GPU is visible, and bitsandbytes is not installed"):
        load(small, quantize=Quantize.nf4)


def test_weights_that_the_files_lack_are_never_made_up(copied, load):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 weights .*layers\.1\.mlp\.up_proj"):
        load(copied)


def test_weights_of_another_shape(copied, load):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(ModelError, match="cannot load it"):
        load(copied)


def test_unknown_architecture_runs_no_code(copied, load):
    (copied / "evil.py").write_text("raise SystemExit('ran')")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.E", "AutoModelForCausalLM": "evil.E"}}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=str(copied)):
        load(copied)


def test_damaged_tokenizer(copied, load):
    (copied / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(ModelError, match="tokenizer cannot be read"):
        load(copied)
