"""The base of the on-policy methods that TRL trains: the yardstick for rlpipe's own loop, and the way to TRL's vLLM.

Nothing here imports torch. TRL 1.16 goes on exactly from a checkpoint only between two batches of rollouts, and within
the first epoch; rlpipe's own methods do so from every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import MethodConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import SamplingConfig, training_problems
from rlpipe.methods.library import LibraryMethod

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


@changing(Changes.result)
@dataclass
class TrlConfig(MethodConfig):
    """What TRL's on-policy trainers share. All else goes through `extra` (vLLM: `extra.use_vllm=true` and its kin)."""

    learning_rate: float = 1e-6
    """TRL's default."""
    batch_size: int = 64
    """Completions per optimiser step, over all devices and accumulation steps together."""
    micro_batch_size: int = setting(8, at_least=1, at_most=10**5, usual=(None, 1024), timed=True)
    """Completions per forward pass on one device; accumulation makes up the rest of `batch_size`. Where none is named:
    the largest up to 8 that `batch_size` can be made up of."""
    schedule: str = "constant_with_warmup"
    """The learning-rate schedule: any name that transformers knows (linear, cosine, constant_with_warmup …)."""
    warmup: float = 0.0
    """Share of the steps in which the learning rate rises from 0."""
    group_size: int = setting(4, at_least=1, at_most=4096, usual=(None, 256), timed=True)
    """Completions of each prompt."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How completions are drawn; stop strings are not TRL's."""
    epochs_per_batch: int = setting(1, at_least=1, at_most=10**4, usual=(None, 16), timed=True)
    """Passes over each batch of rollouts."""
    minibatches: int = setting(1, at_least=1, at_most=10**5, usual=(None, 256), timed=True)
    """Optimiser steps per pass over a batch of rollouts."""
    kl_coef: float = setting(0.05, at_least=0, zero="no reference", at_most=10**4, usual=(None, 10), timed=True)
    """Weight of the KL from the starting model; 0 needs no reference."""
    clip: float = setting(0.2, above=0, at_most=1, usual=(0.01, 0.5))
    """Ratios of new to old probability are clipped to 1 ± this."""

    @property
    def prompts_per_batch(self) -> int:
        """Prompts in one batch of rollouts."""
        return self.batch_size * self.minibatches // self.group_size


class TrlMethod(LibraryMethod):
    """An on-policy method whose trainer is TRL's; rewards and prompts are rlpipe's."""

    Config = TrlConfig
    config: TrlConfig
    takes = (Prompt,)
    trainer = "rlpipe.training.online.trl"
    takes_reward = True
    library_fields = {  # noqa: RUF012
        "num_generations": "group_size",
        "beta": "kl_coef",
        "epsilon": "clip",
        "num_iterations": "epochs_per_batch",
        "generation_batch_size": "minibatches",
        "steps_per_generation": "minibatches",
        "max_completion_length": "sampling.max_tokens",
        "temperature": "sampling.temperature",
        "top_p": "sampling.top_p",
        "top_k": "sampling.top_k",
        "min_p": "sampling.min_p",
    }

    @property
    def needs_reference_model(self) -> bool:
        """Whether a reference takes part in training."""
        return self.config.kl_coef > 0

    def arguments(self) -> dict[str, Any]:
        """Return the library's arguments that this method sets."""
        config, sampling = self.config, self.config.sampling
        return {
            "num_generations": config.group_size,
            "beta": config.kl_coef,
            "epsilon": config.clip,
            "num_iterations": config.epochs_per_batch,
            "generation_batch_size": config.batch_size * config.minibatches,
            "max_completion_length": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p or None,
        }

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        settings, found = self.config, []
        if settings.group_size < 2:
            what = f"{settings.name} compares completions of one prompt with each other, and there is only one"
            found.append(Problem("method.group_size", what, "set 2 or more (4 is usual)"))
        elif (together := settings.batch_size * settings.minibatches) % settings.group_size:
            what = f"{together} completions are no whole groups of {settings.group_size}"
            found.append(Problem("method.batch_size", what, "make batch_size · minibatches a multiple of group_size"))
        if settings.sampling.stop:
            what = f"TRL ends completions at the end-of-turn token only, not at {list(settings.sampling.stop)}"
            found.append(
                Problem("method.sampling.stop", what, f"take {settings.name.removeprefix('trl_')}, or set it to []")
            )
        if settings.sampling.max_tokens >= settings.max_length:
            drawn, room = settings.sampling.max_tokens, settings.max_length
            what = f"completions of {drawn} tokens leave no room for a prompt in {room}"
            found.append(Problem("method.sampling.max_tokens", what, "lower it, or raise method.max_length"))
        return found + training_problems(settings.sampling, "method.sampling.")
