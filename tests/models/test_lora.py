from __future__ import annotations

import pytest

from rlpipe.config.kinds import Head, LoraConfig
from rlpipe.core.errors import ModelError
from rlpipe.models.lora import target_error

MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"]


@pytest.mark.parametrize("targets", [["all-linear"], ["q_proj"], ["self_attn.q_proj", "up_proj"], MODULES])
def test_targets_that_fit(targets):
    assert target_error(targets, MODULES) is None


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["q_prj"], "did you mean 'q_proj'"),
        (["proj"], "no linear layer 'proj'"),
        (["q_proj", "lm_head"], "output head"),
        ([], "is empty"),
        (["all-linear", "q_proj"], "beside other names"),
    ],
)
def test_targets_that_do_not(targets, told):
    assert told in str(target_error(targets, MODULES))


def test_config_by_head(make):
    lora = LoraConfig(rank=4, alpha=8.0, dropout=0.1, target_modules=["q_proj"])
    causal = make(lora=lora).peft
    assert (causal.r, causal.lora_alpha, causal.lora_dropout) == (4, 8.0, 0.1)
    assert causal.task_type == "CAUSAL_LM"
    assert causal.target_modules == {"q_proj"}
    reward = make(head=Head.reward, scratch="reward", lora=LoraConfig(rank=4)).peft
    assert reward.task_type == "SEQ_CLS"
    assert reward.target_modules == "all-linear"


@pytest.mark.parametrize("fields", [{}, {"rslora": True}, {"dora": True}], ids=str)
def test_what_an_adapter_adds(make, fields):
    """By hand: B A scaled; DoRA puts each output's own length on the sum, and begins with that of the base."""
    import torch
    from peft import get_peft_model

    loaded = make(lora=LoraConfig(rank=4, alpha=8.0, target_modules=["q_proj"], **fields))
    base = loaded.model.model.layers[0].self_attn.q_proj.weight.detach().clone()
    layer = get_peft_model(loaded.model, loaded.peft).base_model.model.model.layers[0].self_attn.q_proj
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    scale = 8.0 / (2 if fields.get("rslora") else 4)
    whole = base + scale * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    if fields.get("dora"):
        whole = base.norm(dim=1, keepdim=True) * whole / whole.norm(dim=1, keepdim=True)
    given = torch.randn(3, base.shape[1])
    assert torch.allclose(layer(given), given @ whole.T, atol=1e-5)


def test_no_rank_no_adapter(make):
    assert make().peft is None


def test_wrong_target_stops_loading(small, load):
    with pytest.raises(ModelError, match="did you mean 'gate_proj'"):
        load(small, lora=LoraConfig(rank=4, target_modules=["gate_poj"]))


def test_frozen_embeddings_reuse_the_end_token(stories, load):
    """The logit of a row that stays the mean is the mean of the logits: it could never win."""
    loaded = load(stories, lora=LoraConfig(rank=2))
    assert loaded.tokenizer.eos_token == "</s>"
    assert "with </s> as end of turn because LoRA trains no new embeddings" in loaded.notes[0]
    assert "tokens added: <|im_start|>" in loaded.notes
    assert any("</s> was never trained" in note for note in loaded.notes)  # so it is in this model
    text = loaded.tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False)
    assert text == "<s><|im_start|>user\nHi.</s>"


def test_no_end_token_to_reuse(stories, load, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(stories, tmp_path / "copy", copy_function=shutil.copyfile)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (folder / "tokenizer_config.json").chmod(0o644)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="LoRA trains no new embeddings"):
        load(folder, lora=LoraConfig(rank=2))
    assert load(folder).tokenizer.eos_token == "<|im_end|>"
