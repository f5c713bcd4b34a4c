"""Small random models of the families that transformers loads, with rlpipe's own tokenizer."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from rlpipe.config.kinds import Head, ModelConfig
from rlpipe.models.base import Loaded
from rlpipe.models.blank import TOKENIZER
from rlpipe.models.chat_template import prepare
from rlpipe.models.pretrained import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

WINDOW = 6
"""Shorter than any prompt, and than most completions."""
SHAPE: dict[str, Any] = {
    "vocab_size": 943, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 256, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": 0,
}  # fmt: skip
HALF = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "smollm": ("Llama", {"tie_word_embeddings": True}),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0]}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2_window": ("Qwen2", {"use_sliding_window": True, **HALF}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "deepseek": ("DeepseekV3", {
        "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
        "v_head_dim": 12, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    }),
    "lfm2_convolutions": ("Lfm2", {"layer_types": ["conv", "full_attention"]}),
    "mistral_window": ("Mistral", {"sliding_window": WINDOW}),
    "gemma": ("Gemma", {"head_dim": 8, "tie_word_embeddings": False}),
    "gemma2_window": ("Gemma2", {"head_dim": 8, "query_pre_attn_scalar": 8, "tie_word_embeddings": False, **HALF}),
    "gemma3_window": ("Gemma3Text", {"head_dim": 8, "query_pre_attn_scalar": 8, "tie_word_embeddings": False, **HALF}),
}  # fmt: skip
"""By the family's name: what transformers calls its config, and what it has beyond the common shape."""


def each(names: Iterable[str], fast: Collection[str]) -> list[Any]:
    """Return families as parameters of a test: those that differ most are fast tests, all others slow ones."""
    return [pytest.param(name, marks=[] if name in fast else pytest.mark.slow) for name in names]


def config_of(name: str) -> PreTrainedConfig:
    """Make the config of a family."""
    import transformers

    prefix, settings = FAMILIES[name]
    return getattr(transformers, f"{prefix}Config")(**{**SHAPE, **settings})


def loaded(config: PreTrainedConfig, **arguments: Any) -> Loaded:
    """Make a model with random weights, large enough ones that what it says next depends on what was said."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, **arguments)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                # Tied embeddings that are large make a model repeat itself.
                parameter.mul_(10 if "embed" not in name else 5 if config.tie_word_embeddings else 20)
    tokenizer = load_tokenizer(TOKENIZER)
    prepare(tokenizer, model, ModelConfig(name="pretrained"))
    return Loaded(model.eval(), tokenizer, "", Head.causal_lm)


@functools.cache
def family(name: str) -> Loaded:
    """Return a family's model; tests share it and leave it as it is."""
    return loaded(config_of(name))
