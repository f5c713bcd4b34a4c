"""GPT-2, which knows no chats, has no pad token, and keeps its matrices transposed (`Conv1D`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlpipe.config.kinds import Head, LoraConfig
from rlpipe.core.errors import ModelError
from rlpipe.hub.facts import local_facts
from rlpipe.hub.inspection import Wanted, problems
from rlpipe.models import export
from rlpipe.models.lora import parameter_count
from rlpipe.models.tokens import tokenize
from tests.composed import compose

IDS = [[72, 105, 33, 72, 111]]
LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def test_the_option_says_what_the_real_one_is():
    model = compose("model=gpt2").model
    assert (model.source, model.chat_template, model.context) == ("openai-community/gpt2", "plain", 1024)
    assert model.parameters == 50257 * 768 + 1024 * 768 + 12 * (12 * 768**2 + 13 * 768) + 2 * 768


def test_its_folder_is_read_as_the_hub_has_it(gpt2, load):
    facts = local_facts(gpt2)
    assert facts.parameters == load(gpt2, chat_template="plain").model.num_parameters() - 32  # the pad token's row
    assert (facts.context, facts.layers, facts.hidden_size) == (512, 2, 32)
    assert set(facts.linear_modules) == {f"h.{layer}.{name}" for layer in range(2) for name in LAYERS}
    assert facts.linear_modules["h.1.mlp.c_fc"] == (128, 32), "outputs, inputs"
    assert list(problems(str(gpt2), Wanted(), "model.source")) == []


def test_plain_text_needs_one_new_token(gpt2, load):
    loaded = load(gpt2, chat_template="plain")
    assert loaded.notes[:2] == ["chat template: plain", "pad token: <|pad|>, added"]
    assert loaded.tokenizer.eos_token == "<|endoftext|>"
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id == 257
    assert loaded.model.generation_config.eos_token_id == 256


def test_what_is_trained_is_what_it_would_write(gpt2, load):
    from rlpipe.datasets.forms import Completion

    tokenizer = load(gpt2, chat_template="plain").tokenizer
    ask, say = {"role": "user", "content": "Question: 1?\nAnswer:"}, {"role": "assistant", "content": "one"}
    (tokens,) = tokenize([Completion("0", [ask], [say])], tokenizer)
    assert tokenizer.decode(tokens.prompt) == "Question: 1?\nAnswer:"
    assert tokenizer.decode(tokens.answers[0]) == " one<|endoftext|>"


@pytest.mark.parametrize(("head", "dora"), [(Head.causal_lm, False), (Head.causal_lm, True), (Head.reward, False)])
def test_adapters_are_merged_into_transposed_matrices(gpt2, load, tmp_path, head, dora, recwarn):
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    lora = LoraConfig(rank=4, dora=dora)
    loaded = load(gpt2, head=head, chat_template="plain", lora=lora)
    model = get_peft_model(loaded.model, loaded.peft)
    assert not [warning for warning in recwarn if "fan_in_fan_out" in str(warning.message)]
    adapters = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
    counted = parameter_count(lora, local_facts(gpt2).linear_modules)
    assert sum(weight.numel() for weight in adapters.values()) == counted
    assert {name for name in LAYERS for adapter in adapters if f".{name}." in adapter} == set(LAYERS)
    with torch.no_grad():
        for name, weight in adapters.items():
            if "magnitude" not in name:
                torch.nn.init.normal_(weight, std=0.1)
    wanted = model.eval()(torch.tensor(IDS)).logits
    export.save(replace(loaded, model=model), tmp_path / "model", "card")
    auto = AutoModelForSequenceClassification if head is Head.reward else AutoModelForCausalLM
    merged = auto.from_pretrained(tmp_path / "model")
    assert torch.allclose(merged(torch.tensor(IDS)).logits, wanted, atol=1e-5)


def test_a_layer_that_it_has_not_is_guessed(gpt2, load):
    with pytest.raises(ModelError, match="did you mean 'c_attn'"):
        load(gpt2, chat_template="plain", lora=LoraConfig(rank=4, target_modules=["c_atn"]))


def test_layers_are_counted_from_the_top(gpt2, load):
    from rlpipe.methods.freezing import Thaw
    from rlpipe.training.freezing import heights

    places = heights(load(gpt2, chat_template="plain").model)
    wanted = {"wte": 3, "wpe": 3, ".h.0.": 2, ".h.1.": 1, "ln_f": 0}
    assert {part: {height for name, height in places.items() if part in name} for part in wanted} == {
        part: {height} for part, height in wanted.items()
    }
    assert Thaw("*.h.1.attn.*", 0).has("transformer.h.1.attn.c_attn.weight", 1)
