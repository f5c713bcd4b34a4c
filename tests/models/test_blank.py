from __future__ import annotations

import pytest

from rlpipe.config.kinds import Head, Quantize
from rlpipe.core.errors import ModelError
from rlpipe.models.blank import Blank, BlankConfig


def test_default_is_about_a_million_weights(tmp_path):
    loaded = Blank(BlankConfig(name="blank")).load(None, Head.causal_lm, 0, "cpu", tmp_path / "start")
    assert Blank(BlankConfig(name="blank")).facts().parameters == loaded.model.num_parameters()
    assert 800_000 < loaded.model.num_parameters() < 1_100_000
    assert loaded.model.config.max_position_embeddings == 512
    assert loaded.model.config.tie_word_embeddings
    assert loaded.model.get_input_embeddings().weight is loaded.model.get_output_embeddings().weight


def test_tiny_and_blank_say_the_same_size(tmp_path):
    from tests.composed import compose

    tiny, blank = compose("model=tiny").model, compose("model=blank").model
    assert tiny.context == blank.context
    built = Blank(blank).load(None, Head.causal_lm, 0, "cpu", tmp_path / "start")
    assert tiny.parameters == pytest.approx(built.model.num_parameters(), rel=0.02)


@pytest.mark.parametrize("head", list(Head))
def test_weights_come_from_the_seed_alone(make, head):
    import torch

    models = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)
        models.append(make(head=head, seed=seed, scratch=str(number)).model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not all(torch.equal(models[0][name], models[2][name]) for name in models[0])


def test_stands_on_disk_for_the_reference_model(make, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    loaded = make()
    assert loaded.path == str(tmp_path / "start") == loaded.model.config._name_or_path
    reloaded = AutoModelForCausalLM.from_pretrained(loaded.path)
    ids = torch.tensor([[1, 5, 9]])
    assert torch.equal(reloaded(ids).logits, loaded.model(ids).logits)


def test_a_resumed_run_finds_its_start_again(make, tmp_path):
    make()
    stamp = (tmp_path / "start" / "model.safetensors").stat().st_mtime_ns
    make()
    assert (tmp_path / "start" / "model.safetensors").stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == ["start"]


def test_starts_from_a_stage(small, tmp_path):
    loaded = Blank(BlankConfig(name="blank")).load(str(small), Head.causal_lm, 0, "cpu", tmp_path / "start")
    assert loaded.path == str(small)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"heads": 3}, r"model\.heads: 3"),
        ({"kv_heads": 4, "heads": 2}, r"model\.kv_heads: 4"),
        ({"context": None}, r"model\.context"),
        ({"source": "somewhere"}, r"model\.source"),
        ({"quantize": Quantize.nf4}, r"model\.quantize"),
    ],
)
def test_what_makes_no_network(make, fields, told):
    with pytest.raises(ModelError, match=told):
        make(**fields)
