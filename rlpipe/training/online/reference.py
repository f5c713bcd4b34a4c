"""The model that the policy is held close to: the one that is named, a frozen copy of the start, or the base under
switched-off adapters.

Importing this module imports torch.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from rlpipe.models.sharding import part

FILE = "reference.safetensors"


class Reference:
    """Gives the reference as a model, and moves it where that is asked for."""

    def __init__(
        self,
        policy: nn.Module,
        moves: bool,
        named: nn.Module | None = None,
        copied: Callable[[nn.Module], nn.Module] = copy.deepcopy,
    ):
        """Start from a frozen model that is `named`, else from the policy as it is now.

        Under LoRA the base itself is the reference, at no cost, unless it `moves`: then, and with all weights
        trained, it is a frozen copy, which `copied` makes.
        """
        self.policy = policy
        self.adapters_off = named is None and hasattr(policy, "disable_adapter") and not moves
        self.moves = moves
        self.copy: nn.Module | None = None
        if not self.adapters_off:
            self.copy = copied(policy).eval() if named is None else named
            self.trained = [name for name, weight in policy.named_parameters() if weight.requires_grad]
            self.copy.requires_grad_(False)

    @contextmanager
    def model(self) -> Iterator[nn.Module]:
        """Lend the reference for the body."""
        policy: Any = self.policy
        with policy.disable_adapter() if self.adapters_off else contextlib.nullcontext():
            yield self.policy if self.copy is None else self.copy

    @torch.no_grad()
    def move(self, weight: float) -> None:
        """Move to `weight` · policy + (1 − weight) · reference."""
        assert self.copy is not None
        policy, reference = dict(self.policy.named_parameters()), dict(self.copy.named_parameters())
        for name in self.trained:
            kept = part(reference[name])
            kept.lerp_(part(policy[name]).to(kept.dtype), weight)

    def moved(self) -> dict[str, Tensor]:
        """Return the weights that have moved, in the memory where they are; empty where none does."""
        if not self.moves or self.copy is None:
            return {}
        reference = dict(self.copy.named_parameters())
        return {name: reference[name].detach() for name in self.trained}

    def save(self, folder: Path) -> None:
        """Write the weights that have moved into a checkpoint's folder; nothing where none does."""
        if moved := self.moved():
            from safetensors.torch import save_file

            save_file({name: weight.contiguous() for name, weight in moved.items()}, str(folder / FILE))

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote."""
        if self.moves and self.copy is not None:
            from safetensors.torch import load_file

            reference = dict(self.copy.named_parameters())
            with torch.no_grad():
                for name, tensor in load_file(str(folder / FILE)).items():
                    reference[name].copy_(tensor)


class MoveReference(TrainerCallback):
    """Moves the reference every so many optimiser steps, before a checkpoint of that step is written."""

    def __init__(self, reference: Reference, every: int, weight: float):
        self.reference, self.every, self.weight = reference, every, weight

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move when it is time."""
        if state.global_step % self.every == 0:
            self.reference.move(self.weight)
