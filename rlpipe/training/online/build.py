"""From the parts of a run to its on-policy trainer. Importing this module imports torch."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import set_seed

from rlpipe.config.schema import Sharding
from rlpipe.core import distributed
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.frozen import load_reference
from rlpipe.engines.prompts import lay_out
from rlpipe.engines.sampler import Sampler
from rlpipe.engines.shared_prefix import adopt, support
from rlpipe.methods.online import OnlineMethod
from rlpipe.models import sharding
from rlpipe.models.tokens import encode
from rlpipe.rewards.combine import Rewards
from rlpipe.training.offline.arguments import training_arguments
from rlpipe.training.online.audit import audit
from rlpipe.training.online.collect import Collector
from rlpipe.training.online.prompt_batches import fit
from rlpipe.training.online.reference import Reference
from rlpipe.training.online.trainer import OnlineTrainer
from rlpipe.training.online.value import Values
from rlpipe.training.sharded import layers

if TYPE_CHECKING:
    from rlpipe.models.base import Loaded
    from rlpipe.training.base import Parts

__all__ = ["audit", "build"]


def build(method: OnlineMethod, parts: Parts) -> OnlineTrainer:
    """Build the trainer of an on-policy method. Raises ConfigError and DataError."""
    config, settings = parts.config, method.config
    arguments = training_arguments(method, config, parts.run_dir, distributed.world_size())
    set_seed(config.seed)
    _without_dropout(parts.loaded.model)
    loaded = _adapted(parts.loaded)
    hybrid = config.hardware.sharding is Sharding.hybrid
    copied = _copying(loaded, arguments.device, hybrid)
    reference = values = None
    if method.has_values:
        values = Values(loaded.model, copied(loaded.model) if method.value_model else None, arguments.device)
    if method.needs_reference_model:
        named = load_reference(config, loaded, parts.run_dir)
        reference = Reference(loaded.model, settings.sync_reference > 0, named, copied)
    if loaded.sharded:
        sharding.shard(loaded.model, arguments.device, loaded.autocast, hybrid)
        sharding.sum_gradients(loaded.model)  # as those of a policy that each process holds whole
    tools, environments = parts.resolved.make_tools(), parts.resolved.environments
    sampler = Sampler(loaded, settings.sampling, tools, environments=environments)
    examples = cast("list[Prompt]", parts.data.train.examples)
    texts = [lay_out(prompt, loaded.tokenizer, sampler.protocol) for prompt in sampler.opened(examples)]
    lengths = [len(ids) for ids in encode(texts, loaded.tokenizer)]
    prompts = fit(examples, lengths, settings, config.seed, settings.curriculum)
    rewards = Rewards(parts.resolved.make_rewards())
    rewards.check_columns(prompts.kept)
    rewards.start(config, loaded.path, loaded.model.device.type, parts.run_dir)
    teacher = load_reference(config, loaded, parts.run_dir, "teacher") if method.has_teacher else None
    collector = Collector(method, sampler, rewards, prompts, reference, values, teacher)
    arguments.max_steps = settings.max_steps or math.ceil(settings.epochs * prompts.batches) * settings.steps_per_batch
    trainer = type(OnlineTrainer.__name__, (*layers(config.hardware, loaded.sharded), OnlineTrainer), {})
    return trainer(loaded, arguments, collector, parts)


def _copying(loaded: Loaded, device: torch.device, hybrid: bool) -> Callable[[nn.Module], nn.Module]:
    """Return how the policy is copied before it is cut: into shards, where it will be in shards itself."""
    if not loaded.sharded:
        return copy.deepcopy
    found = distributed.from_main(lambda: support(loaded.model))
    adopt(loaded.model, found)

    def copied(policy: nn.Module) -> nn.Module:
        made = sharding.sharded_copy(policy, device, loaded.autocast, hybrid)
        sharding.sum_gradients(made)
        adopt(made, found)
        return made

    return copied


def _without_dropout(model: nn.Module) -> None:
    """Switch the model's own dropout off, as TRL does in PPO and in methods on pairs.

    With it, a policy would differ at random from the one that has drawn the completions. Adapters, which are put on
    later, keep the dropout that `model.lora.dropout` gives them.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def _adapted(loaded: Loaded) -> Loaded:
    """Put new adapters on the model, where LoRA is asked for."""
    if loaded.peft is None:
        return loaded
    import peft

    model: Any = loaded.model
    if getattr(model, "is_quantized", False):
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return dataclasses.replace(loaded, model=peft.get_peft_model(model, loaded.peft))
