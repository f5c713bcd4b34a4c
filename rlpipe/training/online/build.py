"""From the parts of a run to its on-policy trainer. Importing this module imports torch."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from transformers import set_seed

from rlpipe.core import distributed
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.frozen import load_reference
from rlpipe.engines.prompts import lay_out
from rlpipe.engines.sampler import Sampler
from rlpipe.methods.online import OnlineMethod
from rlpipe.models.tokens import encode
from rlpipe.rewards.combine import Rewards
from rlpipe.training.offline.arguments import training_arguments
from rlpipe.training.online.audit import audit
from rlpipe.training.online.collect import Collector
from rlpipe.training.online.prompt_batches import fit
from rlpipe.training.online.reference import Reference
from rlpipe.training.online.trainer import OnlineTrainer
from rlpipe.training.online.value import Values

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
    tools, environments = parts.resolved.make_tools(), parts.resolved.environments
    sampler = Sampler(loaded, settings.sampling, tools, environments=environments)
    examples = cast("list[Prompt]", parts.data.train.examples)
    texts = [lay_out(prompt, loaded.tokenizer, sampler.protocol) for prompt in sampler.opened(examples)]
    lengths = [len(ids) for ids in encode(texts, loaded.tokenizer)]
    prompts = fit(examples, lengths, settings, config.seed, settings.curriculum)
    rewards = Rewards(parts.resolved.make_rewards())
    rewards.check_columns(prompts.kept)
    rewards.start(config, loaded.path, loaded.model.device.type, parts.run_dir)
    reference = None
    if method.needs_reference_model:
        named = load_reference(config, loaded, parts.run_dir)
        reference = Reference(loaded.model, moves=settings.sync_reference > 0, named=named)
    teacher = load_reference(config, loaded, parts.run_dir, "teacher") if method.has_teacher else None
    values = Values(loaded.model, separate=method.value_model) if method.has_values else None
    collector = Collector(method, sampler, rewards, prompts, reference, values, teacher)
    arguments.max_steps = settings.max_steps or math.ceil(settings.epochs * prompts.batches) * settings.steps_per_batch
    return OnlineTrainer(loaded, arguments, collector, parts)


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
