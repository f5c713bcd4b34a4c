"""Which models take rows that completions share, and what such rows cost."""

from __future__ import annotations

import pytest

from rlpipe.core.errors import ModelError
from rlpipe.training.online.packing import micro_batches
from tests.training.online.scoring import ALL, VOCABULARY, WINDOW, build, close, plain, some


def test_recurrent_layers_go_one_row_per_rollout() -> None:
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    from rlpipe.engines import shared_prefix
    from rlpipe.training.online.forward import forward, sequence_logps

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "num_attention_heads": 1}
    model = MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, initializer_range=0.3, **sizes)).eval()
    supported, reason = shared_prefix.supports_shared_prefix(model)
    assert not supported
    assert "Mamba" in reason or "attention" in reason
    rollouts = some(groups=1)
    found = sequence_logps(model, rollouts, 1.0, 1000)
    for each, logps in zip(rollouts, found, strict=True):
        assert close(logps, plain(model, each, 1.0)[0], 1e-4)
    (shared,) = micro_batches(rollouts, 1000, ALL)
    with pytest.raises(ModelError, match="completions share a row, but"):
        forward(model, shared, 1.0)


def test_position_biases_are_found_out() -> None:
    """ALiBi counts distance along the row, not in positions."""
    import torch
    from transformers import BloomConfig, BloomForCausalLM

    from rlpipe.engines import shared_prefix

    torch.manual_seed(0)
    model = BloomForCausalLM(
        BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
    ).eval()
    assert not shared_prefix.supports_shared_prefix(model)[0]
    assert not shared_prefix.costs(model).share


def test_a_window_that_is_not_honoured_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlpipe.engines import shared_prefix

    model, whole = build("gemma3"), shared_prefix.SharedRows.mask
    monkeypatch.setattr(shared_prefix.SharedRows, "mask", lambda laid, window: whole(laid, None))
    supported, reason = shared_prefix.supports_shared_prefix(model)
    assert not supported
    assert "computes something else" in reason
    assert model.config.sliding_window == WINDOW


def test_unknown_heads_use_the_models_own_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from rlpipe.engines import decoder, shared_prefix
    from rlpipe.training.online.forward import forward

    monkeypatch.setattr(decoder, "CAPS", ())
    model, rollouts = build("gemma2"), some(groups=1)
    supported, reason = shared_prefix.supports_shared_prefix(model)
    assert not supported
    assert "output head" in reason
    (batch,) = micro_batches(rollouts, 10**6, shared_prefix.costs(model))
    found = forward(model, batch, 0.7, hidden=True)
    assert close(found.logps, torch.cat([plain(model, each, 0.7)[0] for each in rollouts]))
    assert found.hidden is not None
    assert found.hidden.shape == (len(found.logps), 32)


def test_a_model_that_cannot_score_anything_is_named() -> None:
    from rlpipe.engines import shared_prefix

    model = build("llama")
    model.get_output_embeddings().weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="LlamaForCausalLM: the logits of a few tokens are not finite"):
        shared_prefix.support(model)
    capped = build("gemma2")
    capped.config._attn_implementation = "sdpa"
    with pytest.raises(ModelError, match=r"Gemma2ForCausalLM: failed on a few tokens: .*softcap"):
        shared_prefix.support(capped)


def test_costs_follow_the_model() -> None:
    from rlpipe.engines import shared_prefix

    small, large = shared_prefix.costs(build("llama")), shared_prefix.costs(build("llama", intermediate_size=4800))
    assert small.share
    assert 0 < large.masked < small.masked
    assert small.causal < small.masked
    eager = shared_prefix.costs(build("llama eager"))
    assert eager.causal > small.causal
