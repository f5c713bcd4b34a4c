"""Layers that train from some step on, and learning rates that fall from layer to layer, for any trainer.

Importing this module imports transformers. A frozen weight keeps its place in the optimiser and gets no gradient, which
AdamW passes over: neither decay nor moments change it. Which weights are frozen follows from the step alone, so that a
resumed run needs nothing more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlpipe.config.kinds import MethodConfig
from rlpipe.core.errors import Problem
from rlpipe.methods.freezing import EXAMPLE, Thaw, first_step, schedule

LAYER = re.compile(r"\.(\d+)\.")
"""A layer's number in a weight's name: the first number there is (`model.layers.3.mlp…`, `transformer.h.3.attn…`)."""


def heights(model: nn.Module) -> dict[str, int]:
    """Return how far below the top each weight stands, by its name, in the order of the model.

    What stands above the topmost layer (a norm, a head of its own) is at 0, the topmost layer at 1, the lowest of L at
    L, and what stands below it (embeddings, with a head that shares them) at L + 1.
    """
    matches = {name: LAYER.search(name) for name, _ in model.named_parameters()}
    numbers = {name: None if match is None else int(match[1]) for name, match in matches.items()}
    layers = 1 + max((number for number in numbers.values() if number is not None), default=-1)
    found: dict[str, int] = {}
    below = True
    for name, number in numbers.items():
        below = below and number is None
        found[name] = layers - number if number is not None else layers + 1 if below else 0
    return found


class Thawing(TrainerCallback):
    """Lets each weight train from its step on."""

    def __init__(self, model: nn.Module, thaws: Sequence[Thaw]):
        places = heights(model)
        self.steps = {
            name: first_step(name, places[name], thaws)
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
        """The steps made before each trained weight trains; None for those that never do."""
        self.sizes = {name: weight.numel() for name, weight in model.named_parameters()}
        self.model = model

    def at(self, step: int) -> None:
        """Freeze and thaw as it is after so many steps."""
        for name, weight in self.model.named_parameters():
            if name in self.steps:
                first = self.steps[name]
                weight.requires_grad_(first is not None and first <= step)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Freeze as it is after the steps of the checkpoint."""
        self.at(state.global_step)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Thaw what trains from this step on."""
        if state.global_step in self.steps.values():
            self.at(state.global_step)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave the model as it was found."""
        for name, weight in self.model.named_parameters():
            if name in self.steps:
                weight.requires_grad_(True)

    def lines(self) -> list[str]:
        """Say how many weights train from which step."""
        counts: Counter[int | None] = Counter()
        for name, step in self.steps.items():
            counts[step] += self.sizes[name]
        known, total, so_far = sorted(step for step in counts if step is not None), sum(counts.values()), 0
        lines = []
        for step in known:
            so_far += counts[step]
            lines.append(f"from step {step + 1}: {so_far} of {total} weights train ({so_far / total:.0%})")
        return [*lines, f"{counts[None]} weights never train"] if counts[None] else lines

    def problems(self, freeze: Sequence[str]) -> list[Problem]:
        """Return what is wrong with the schedule on this model."""
        found = []
        for thaw, written in zip(schedule(freeze), freeze, strict=True):
            if not any(thaw.has(name, height) for name, height in heights(self.model).items()):
                names = ", ".join(list(self.steps)[:3])
                found.append(Problem("method.freeze", f"{written} names no weight; there are {names} …", EXAMPLE))
        if not any(step == 0 for step in self.steps.values()):
            found.append(Problem("method.freeze", "no weight trains in the first step", EXAMPLE))
        return found


def freeze(trainer: Trainer, config: MethodConfig) -> Thawing | None:
    """Have a trainer freeze and thaw weights, and let rates fall from layer to layer, as its method says.

    Returns what is frozen when; None where nothing is. To be called before training makes an optimiser.
    """
    model: nn.Module = trainer.accelerator.unwrap_model(trainer.model)
    if config.layer_decay < 1:
        _decay_rates(trainer, model, config.layer_decay)
    if not config.freeze:
        return None
    thawing = Thawing(model, schedule(config.freeze))
    trainer.add_callback(thawing)
    return thawing


def _decay_rates(trainer: Trainer, model: nn.Module, decay: float) -> None:
    """Part the optimiser's groups by layer, each with its share of the rate; what is no part of the model keeps it."""
    create, places = trainer.create_optimizer, heights(model)
    shares = {id(weight): decay ** places[name] for name, weight in model.named_parameters()}

    def create_optimizer(*arguments: Any) -> torch.optim.Optimizer:
        made = trainer.optimizer is None
        optimizer = create(*arguments)
        if made:
            optimizer.param_groups = [part for group in optimizer.param_groups for part in _parted(group, shares)]
        return optimizer

    trainer.create_optimizer = create_optimizer  # type: ignore[method-assign, assignment]


def _parted(group: dict[str, Any], shares: dict[int, float]) -> list[dict[str, Any]]:
    """Return a group's parts, the topmost first: trainers log the first group's rate."""
    parts: dict[float, list[Any]] = {}
    for weight in group["params"]:
        parts.setdefault(shares.get(id(weight), 1.0), []).append(weight)
    return [
        {**group, "params": weights, "lr": group["lr"] * share}
        for share, weights in sorted(parts.items(), reverse=True)
    ]
