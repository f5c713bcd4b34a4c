"""How often the policy solves each prompt, and which prompts it draws for that. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from rlpipe.engines.rollout import Rollout
from rlpipe.methods.online import SolveRateConfig


class SolveRates:
    """A running share of right completions for each prompt that was drawn: part of a checkpoint."""

    def __init__(self, config: SolveRateConfig, verifiers: Collection[str]):
        """`verifiers` are the names of the rewards that must all call a completion right."""
        self.config, self.verifiers = config, tuple(verifiers)
        self.rates: dict[str, float] = {}
        """The rate of each prompt that was drawn, by its id."""
        self.drawn: dict[str, int] = {}
        """The epoch in which each was drawn last."""

    def inside(self, prompt: str) -> bool:
        """Whether a prompt's rate lies in the window; one that was never drawn counts as inside."""
        rate = self.rates.get(prompt)
        return rate is None or self.config.least <= rate <= self.config.most

    def due(self, prompt: str, epoch: int) -> bool:
        """Whether a prompt is drawn in an epoch: it is inside, or was left out long enough to be tried again."""
        return self.inside(prompt) or epoch - self.drawn[prompt] >= self.config.retry

    def note(self, groups: Sequence[Sequence[Rollout]], epoch: int) -> None:
        """Count the right completions of some prompts, drawn in an epoch."""
        for group in groups:
            prompt = group[0].prompt.id
            right = [all(one.scores[name].value == 1 for name in self.verifiers) for one in group]
            share, newest = sum(right) / len(right), self.config.newest
            self.rates[prompt] = newest * share + (1 - newest) * self.rates.get(prompt, share)
            self.drawn[prompt] = epoch

    def numbers(self) -> dict[str, float]:
        """Return the mean rate of the prompts that were drawn, and the share of them that are left out."""
        out = sum(not self.inside(prompt) for prompt in self.rates)
        return {"solve_rate": sum(self.rates.values()) / len(self.rates), "left_out": out / len(self.rates)}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rates": self.rates, "drawn": self.drawn}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.rates, self.drawn = dict(state["rates"]), dict(state["drawn"])
