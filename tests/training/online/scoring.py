"""Models of every family, rollouts for them, and the plain forward that the packed one must equal."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.engines.row_costs import Costs
from rlpipe.training.online.packing import MicroBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

VOCABULARY = 61
WINDOW = 5
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama tied": ("Llama", {"tie_word_embeddings": True}),
    "llama eager": ("Llama", {"attn_implementation": "eager"}),
    "qwen2": ("Qwen2", {}),
    "qwen2 window": ("Qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {}),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0]}),
    "mistral window": ("Mistral", {"sliding_window": WINDOW}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma2", {"sliding_window": WINDOW, "final_logit_softcapping": 3.0, "attn_implementation": "eager"}),
    "gemma3": ("Gemma3Text", {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}),
    "cohere": ("Cohere", {"logit_scale": 0.3}),
    "granite": ("Granite", {"logits_scaling": 4.0}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
}
ALL = Costs(share=True, call=1e6)
"""All completions of a prompt in one row, and as few micro-batches as hold them."""


def build(family: str, **more: Any) -> Any:
    import torch
    import transformers

    name, settings = FAMILIES[family]
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "initializer_range": 0.3} if name == "GPT2" else SIZES
    config = getattr(transformers, f"{name}Config")(**{**sizes, **settings, **more})
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=config._attn_implementation)
    return model.eval()


def rollout(prompt: list[int], ids: list[int]) -> Rollout:
    return Rollout(Prompt("train/0", []), prompt, ids, [0.0] * len(ids), [True] * len(ids), "", Finish.stop)


def some(seed: int = 0, groups: int = 3) -> list[Rollout]:
    """Groups of random size and length; a completion of one token and prompts beyond the window among them."""
    draw = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [draw.randrange(VOCABULARY) for _ in range(count)]

    made = []
    for number in range(groups):
        prompt = tokens(draw.randint(1, 6) if number else 11)
        made += [rollout(prompt, tokens(draw.randint(1, 9))) for _ in range(draw.randint(2, 4))]
        made.append(rollout(prompt, tokens(1)))
    return made


def plain(model: Any, each: Rollout, temperature: float) -> tuple[Tensor, Tensor]:
    """Score one rollout with the model's public forward."""
    import torch

    ids = torch.tensor([each.prompt_ids + each.ids])
    logits = model(input_ids=ids).logits[0, len(each.prompt_ids) - 1 : -1].float() / temperature
    logps = logits.log_softmax(-1)
    return logps.gather(-1, torch.tensor(each.ids)[:, None])[:, 0], -(logps.exp() * logps).sum(-1)


def weights(rollouts: list[Rollout]) -> list[Tensor]:
    import torch

    torch.manual_seed(1)
    return [torch.randn(len(each.ids)) for each in rollouts]


def gradient(model: nn.Module) -> Tensor:
    import torch

    parts = [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in model.parameters()]
    model.zero_grad()
    return torch.cat(parts)


def backward(model: Any, batches: list[MicroBatch], scale: list[Tensor], temperature: float = 1.0) -> dict[int, Tensor]:
    """Score batches, back-propagate the weighted sum, and return log-probabilities by the rollout's index."""
    import torch

    from rlpipe.training.online.forward import forward

    found = {}
    for batch in batches:
        scored = forward(model, batch, temperature)
        torch.cat([scale[index] for index in batch.indices]).mul(scored.logps).sum().backward()
        parts = scored.logps.detach().split([len(each.ids) for each in batch.rollouts])
        found.update(zip(batch.indices, parts, strict=True))
    return found


def close(one: Tensor, other: Tensor, relative: float = 1e-5) -> bool:
    return bool((one - other).norm() <= relative * other.norm())
