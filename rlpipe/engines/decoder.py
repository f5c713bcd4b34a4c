"""A causal language model in two parts: the decoder, which gives hidden states, and the output head.

The logits of a long prompt are never needed, so the head must run on chosen states alone. What families do to the
logits after the head (scaling, soft-capping) is read from the config; `shared_prefix.support` compares the result with
the model's own logits before it is trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rlpipe.models.sharding import is_sharded

MULTIPLIERS = ("logit_scale", "lm_head_multiplier")
"""Config fields that logits are multiplied by (Cohere; Falcon-H1)."""
DIVISORS = ("logits_scaling",)
"""Config fields that logits are divided by (Granite, MiniCPM3)."""
CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Config fields c that turn logits into c · tanh(logits / c) (Gemma 2; RecurrentGemma)."""
CHUNKS = {"cpu": 2**22, "cuda": 2**25}
"""Logits that are computed at a time, by device (16 and 128 MiB in float32): a GPU wants large products, and
glibc gives memory above 32 MiB back to the system after each use."""
SHORTEST_CHUNK = 128
"""Tokens below which a chunk never falls: the output head's weights are read once for each."""


def causal_lm(model: nn.Module) -> Any:
    """Return the transformers model inside adapters and wrappers (PEFT, torch.compile, DDP)."""
    inner: Any = model
    while True:
        if is_wrapper(inner):
            inner = inner.module
        elif hasattr(inner, "_orig_mod"):
            inner = inner._orig_mod
        elif hasattr(inner, "peft_config") and hasattr(inner, "get_base_model"):
            inner = inner.get_base_model()
        else:
            return inner


def is_wrapper(model: nn.Module) -> bool:
    """Whether the model must be called as a whole for its gradients to be exchanged between processes."""
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.nn.parallel import DistributedDataParallel

    return isinstance(model, DistributedDataParallel | FullyShardedDataParallel)


def inside(model: nn.Module, inputs: Tensor, call: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Run `call`, which uses parts of a model, inside the model's own forward where that must be entered.

    DDP arms its exchange of gradients there, and a model in shards gathers its weights; the module that does is lent
    `call` for this once. `inputs` only goes along (DDP takes no call without inputs).
    """
    if not (is_wrapper(model) or is_sharded(model)):
        return call()
    module: Any = model.module if is_wrapper(model) else model
    patched = module.__dict__.get("forward")

    def restore() -> None:
        if patched is None:
            module.__dict__.pop("forward", None)
        else:
            module.__dict__["forward"] = patched

    def lent(_: Tensor) -> tuple[Tensor, ...]:
        restore()
        return call()

    module.__dict__["forward"] = lent
    try:
        return model(inputs)
    finally:
        restore()


def hidden_states(model: Any, ids: Tensor, positions: Tensor | None = None, mask: Any = None) -> Tensor:
    """Return the decoder's last hidden states [R, T, H], normalised as the output head takes them."""
    places = {} if positions is None else {"position_ids": positions}
    seen = {} if mask is None else {"attention_mask": mask}
    return model.get_decoder()(input_ids=ids, use_cache=False, **places, **seen).last_hidden_state


def logits(model: Any, states: Tensor) -> Tensor:
    """Return the logits [n, V] for hidden states [n, H], as the model's own forward makes them."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    made = head(states)
    for name in MULTIPLIERS:
        if (factor := getattr(config, name, None)) is not None:
            made = made * factor
    for name in DIVISORS:
        if (divisor := getattr(config, name, None)) is not None:
            made = made / divisor
    for name in CAPS:
        if (cap := getattr(config, name, None)) is not None:
            made = torch.tanh(made / cap) * cap
    return made


def chunk_length(vocabulary: int, device: torch.device) -> int:
    """Return for how many tokens logits are computed at a time."""
    return max(SHORTEST_CHUNK, CHUNKS["cpu" if device.type == "cpu" else "cuda"] // vocabulary)
