"""LoRA: which layers get an adapter, and the config that the trainers apply (arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rlpipe.config.kinds import Head, LoraConfig
from rlpipe.core.errors import ModelError, Problem, guess

if TYPE_CHECKING:
    import peft
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
HEADS = ("lm_head", "embed_out", "score")
"""Output heads: TRL computes losses from the head's plain weight, so an adapter on it would not be trained."""


def target_error(targets: Iterable[str], modules: Iterable[str]) -> Problem | None:
    """Return what is wrong with LoRA targets, None when each fits some linear module.

    A target fits a module whose dotted name it is or ends (`q_proj` fits `model.layers.0.self_attn.q_proj`).
    """
    targets, modules = list(targets), list(modules)
    where = "model.lora.target_modules"
    if not targets:
        return Problem(where, "is empty", f"name linear layers, or [{ALL_LINEAR}]")
    if ALL_LINEAR in targets:
        if len(targets) == 1:
            return None
        return Problem(where, f"'{ALL_LINEAR}' stands beside other names", "give it alone, or only names")
    for target in targets:
        if target.split(".")[-1] in HEADS:
            return Problem(
                where,
                f"'{target}' is the output head, and TRL cannot train an adapter on it",
                f"leave it out; [{ALL_LINEAR}] takes every other linear layer",
            )
        if not any(name == target or name.endswith(f".{target}") for name in modules):
            short = {name.split(".")[-1] for name in modules}
            return Problem(where, f"the model has no linear layer '{target}'", guess(target, short))
    return None


def parameter_count(config: LoraConfig, modules: dict[str, tuple[int, int]]) -> int:
    """Return how many weights adapters have.

    Rank · (outputs + inputs) for each targeted module; DoRA a length for each output more.
    """
    lengths = 1 if config.dora else 0
    shapes = targeted(config.target_modules, modules)
    return sum(config.rank * (outputs + inputs) + lengths * outputs for outputs, inputs in shapes)


def targeted(targets: Iterable[str], modules: dict[str, tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the shapes (outputs, inputs) of the modules that get an adapter."""
    targets = list(targets)
    return [
        shape
        for name, shape in modules.items()
        if ALL_LINEAR in targets or any(name == target or name.endswith(f".{target}") for target in targets)
    ]


def peft_config(config: LoraConfig, model: PreTrainedModel, head: Head) -> peft.LoraConfig:
    """Build the adapters' config for a loaded model. Raises ModelError for a target that is not in it."""
    import peft
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    linear = {name: module for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))}
    error = target_error(config.target_modules, linear)
    if error is not None:
        raise ModelError(error.where, error.what, error.fix)
    return peft.LoraConfig(
        task_type="SEQ_CLS" if head is Head.reward else "CAUSAL_LM",
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a float does as well: it is divided by the rank
        lora_dropout=config.dropout,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linear.values()),
        use_rslora=config.rslora,
        use_dora=config.dora,
        target_modules=ALL_LINEAR if ALL_LINEAR in config.target_modules else list(config.target_modules),
    )
