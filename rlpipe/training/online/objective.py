"""The loss of one optimiser step, micro-batch by micro-batch: policy, KL, entropy and value terms.

Importing this module imports torch. Tokens are weighted for the whole step at once, so the parts of micro-batches
and of processes only add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlpipe.methods.batch import Batch, Tokens
from rlpipe.methods.losses import clipped_values, kl_estimate, kl_loss
from rlpipe.methods.online import KLIn, OnlineMethod
from rlpipe.training.online.forward import Scored
from rlpipe.training.online.value import Values

STATISTICS = ("loss", "policy_loss", "value_loss", "kl", "entropy", "clip_fraction")
"""What a step sums up over its micro-batches and processes; the last four are means over the model's tokens."""


class Objective:
    """What one optimiser step minimises on its rollouts."""

    def __init__(self, method: OnlineMethod, batch: Batch, chosen: Sequence[int], values: Values | None):
        self.method, self.settings, self.batch, self.values = method, method.config, batch, values
        self.weights = batch.weights(chosen, method.aggregate.value, self.settings.sampling.max_tokens)
        """How much each token counts in the policy's loss [n], for all n tokens of the batch."""
        factors = batch.correction
        self.advantages = batch.advantages if factors is None else batch.advantages * factors
        """What each token is worth to the policy's loss [n]: a factor of it is one of the loss."""
        self.average = batch.weights(chosen, "token", 1)
        """The same for a mean over the step's tokens [n]."""

    @property
    def needs_states(self) -> bool:
        """Whether the value function stands on the policy's own hidden states."""
        return self.values is not None and self.values.trunk is None

    @property
    def statistics(self) -> list[str]:
        """The statistics that mean something."""
        there = {"value_loss": self.values is not None, "kl": self.batch.reference is not None}
        return [name for name in STATISTICS[1:] if there.get(name, True)]

    def loss(self, scored: Scored, value: Tensor | None, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the share of the loss, and of `STATISTICS`, of a micro-batch that holds the rollouts `indices`."""
        places, device = self.batch.places(indices), scored.logps.device

        def part(whole: Tensor | None) -> Any:
            return None if whole is None else whole[places].to(device)

        old, average = part(self.batch.old), part(self.average)
        tokens = Tokens(
            logps=scored.logps,
            old=scored.logps.detach() if old is None else old,
            advantages=part(self.advantages),
            weights=part(self.weights),
            rollout=scored.rollout,
            reference=part(self.batch.reference),
        )
        policy = self.method.policy_loss(tokens)
        kl_term, kl = self._kl(tokens, average)
        value_term = self._value(value, part(self.batch.values), part(self.batch.returns), average)
        entropy, clipped = (average * scored.entropies).sum(), (average * policy.clipped).sum()
        loss = policy.value + kl_term
        if self.settings.entropy_coef > 0:
            loss = loss - self.settings.entropy_coef * entropy
        if value_term is not None:
            config: Any = self.settings
            loss = loss + config.value_coef * value_term
        nothing = loss.new_zeros(())
        parts = [loss, policy.value, nothing if value_term is None else value_term, kl, entropy, clipped]
        return loss, torch.stack([one.detach().float() for one in parts])

    def _kl(self, tokens: Tokens, average: Tensor) -> tuple[Tensor, Tensor]:
        """Return the KL's term of the loss, and its mean over the model's tokens."""
        nothing, reference = tokens.logps.new_zeros(()), tokens.reference
        if reference is None:
            return nothing, nothing
        estimator = self.settings.kl_estimator.value
        mean = (average * kl_estimate(tokens.logps.detach(), reference, estimator)).sum()
        if self.settings.kl_in is not KLIn.loss or self.settings.kl_coef == 0:
            return nothing, mean
        term = kl_loss(tokens.logps, tokens.old, reference, tokens.weights, estimator)
        return self.settings.kl_coef * term, mean

    def _value(self, value: Tensor | None, old: Any, returns: Any, average: Tensor) -> Tensor | None:
        if value is None:
            return None
        config: Any = self.settings
        return clipped_values(value, old, returns, average, config.value_clip).value
