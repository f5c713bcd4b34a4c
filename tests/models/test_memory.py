from __future__ import annotations

import pytest

from rlpipe.config.kinds import LoraConfig, Precision, Quantize
from rlpipe.models.lora import parameter_count
from rlpipe.models.memory import Facts, estimate

SHAPE = Facts(
    parameters=1_000_000,
    context=512,
    vocabulary=1000,
    layers=4,
    hidden_size=128,
    intermediate_size=384,
    reward_head=False,
    linear_modules={"model.layers.0.mlp.up_proj": (384, 128), "model.layers.0.self_attn.q_proj": (128, 128)},
)


def test_full_fine_tuning_in_float32_keeps_four_numbers_a_weight():
    memory = estimate(1_000_000, precision=Precision.float32, tokens=0, facts=SHAPE)
    assert memory.total == 16_000_000


def test_mixed_precision_adds_the_casts():
    memory = estimate(1_000_000, precision=Precision.bfloat16, tokens=0, facts=SHAPE)
    assert memory.total == 18_000_000


def test_processes_share_weights_gradients_and_optimiser_but_no_activations():
    whole = estimate(1_000_000, precision=Precision.float32, tokens=64, reference=True, teacher=7, facts=SHAPE)
    part = whole.shared(4)
    assert (part.weights, part.gradients, part.optimizer, part.reference) == (10**6, 10**6, 2 * 10**6, 10**6)
    assert (part.activations, part.logits) == (whole.activations, whole.logits)
    assert part.teacher == whole.teacher == 28


def test_lora_trains_only_the_adapters_and_needs_no_reference():
    adapters = parameter_count(LoraConfig(rank=8), SHAPE.linear_modules)
    assert adapters == 8 * (384 + 128 + 128 + 128)
    memory = estimate(
        1_000_000, precision=Precision.pure_bfloat16, tokens=0, trainable=adapters, reference=True, facts=SHAPE
    )
    assert memory.weights == 2_000_000
    assert memory.gradients + memory.optimizer == 12 * adapters
    assert memory.reference == 0


def test_named_targets_count_alone():
    narrow = LoraConfig(rank=4, target_modules=["q_proj"])
    assert parameter_count(narrow, SHAPE.linear_modules) == 4 * 256
    narrow.dora = True
    assert parameter_count(narrow, SHAPE.linear_modules) == 4 * 256 + 128


def test_reference_quantisation_and_checkpointing():
    plain = estimate(1_000_000, precision=Precision.float32, tokens=100, reference=True, facts=SHAPE)
    assert plain.reference == 4_000_000
    saved = estimate(1_000_000, precision=Precision.float32, tokens=100, gradient_checkpointing=True, facts=SHAPE)
    assert saved.activations < plain.activations / 2
    small = estimate(1_000_000, precision=Precision.bfloat16, tokens=0, trainable=10, quantize=Quantize.nf4)
    assert small.weights == 562_500


def test_shape_is_guessed_without_facts():
    known = estimate(494_032_768, precision=Precision.bfloat16, tokens=4096, logit_tokens=0)
    assert 5e9 < known.activations < 15e9
    assert "GB" in str(known)


@pytest.mark.parametrize("precision", list(Precision))
def test_activations_are_those_that_autograd_keeps(precision):
    import torch
    from transformers import LlamaConfig, LlamaModel

    shape = LlamaConfig(
        vocab_size=1000,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=384,
    )
    pure = precision is Precision.pure_bfloat16
    model = LlamaModel(shape).to(torch.bfloat16 if pure else torch.float32)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def kept(tokens: int) -> int:
        saved: dict[int, torch.Tensor] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in weights:
                saved[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        mixed = torch.autocast("cpu", torch.bfloat16, enabled=precision is Precision.bfloat16)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), mixed:
            model(input_ids=torch.zeros(1, tokens, dtype=torch.long))
        return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())

    measured = kept(384) - kept(128)  # the weights' casts cancel out
    assert estimate(1, precision=precision, tokens=256, facts=SHAPE).activations == pytest.approx(measured, rel=0.1)
