"""Which completions a batch of rollouts has: drawn, scored, and drawn again until they differ, where that is asked for.

Importing this module imports torch. Each process draws from its own prompts and scores its own completions; at the end
all of them hold all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlpipe.core import distributed
from rlpipe.engines.rollout import Rollout, Score
from rlpipe.training.online.processes import share
from rlpipe.training.online.solve_rates import SolveRates

if TYPE_CHECKING:
    from rlpipe.datasets.forms import Prompt
    from rlpipe.engines.sampler import Sampler
    from rlpipe.methods.online import OnlineMethod
    from rlpipe.rewards.combine import Rewards
    from rlpipe.training.online.prompt_batches import PromptBatches

OVERLONG = "overlong"
"""The name of what `method.overlong_buffer` takes off, among the scores of a rollout."""


class Drawing:
    """Draws and scores the groups of one batch of rollouts after another."""

    def __init__(self, method: OnlineMethod, sampler: Sampler, rewards: Rewards, prompts: PromptBatches):
        self.method, self.sampler, self.rewards, self.prompts = method, sampler, rewards, prompts
        self.settings = method.config
        self.extra = 0
        """Batches of prompts looked at so far beyond one for each batch of rollouts: part of a checkpoint."""
        verifiers = [name for name, reward in rewards.rewards.items() if reward.verifies]
        self.rates = SolveRates(method.config.solve_rate, verifiers) if method.config.solve_rate.active else None
        self.pending: list[Prompt] = []
        """Prompts that are due and wait for the next batch, where some are left out: part of a checkpoint."""

    def groups(self, number: int) -> tuple[list[list[Rollout]], dict[str, float]]:
        """Return the groups of batch number `number`, scored, in the order drawn, with numbers for the log.

        Without `dynamic_sampling` they are those of as many prompts. With it, batches of prompts are drawn until enough
        groups have a signal; the first of these are taken, and others make up the rest where the bound leaves too few.
        """
        self.sampler.engine.policy_changed()
        wanted, spent = self.settings.prompts_per_batch, {"sampling": 0.0, "reward": 0.0}
        drawn: list[list[Rollout]] = []
        signal: list[bool] = []
        after, pending = number + self.extra, list(self.pending)
        for _ in range(self.settings.dynamic_sampling + 1):
            prompts, after = self._prompts(pending, after)
            drawn += self._draw(prompts, after - 1, spent)
            signal = [self.method.has_signal(group) for group in drawn]
            if sum(signal) >= wanted:
                break
        # From here on nothing can end the run: what is noted goes into its next checkpoint.
        self.extra, self.pending = after - number - 1, pending
        chosen = sorted(range(len(drawn)), key=lambda place: not signal[place])[:wanted]
        numbers = {f"seconds/{name}": seconds for name, seconds in spent.items()}
        if self.settings.group_size > 1:
            numbers["groups_without_signal"] = 1 - sum(signal) / len(signal)
        if self.settings.dynamic_sampling:
            earned = [rollout.reward for group in drawn for rollout in group]
            numbers |= {"draws": len(drawn) / wanted, "reward_drawn": math.fsum(earned) / len(earned)}
        if self.rates is not None:
            self.rates.note(drawn, (after - 1) // self.prompts.batches)
            numbers |= self.rates.numbers()
        return [drawn[place] for place in sorted(chosen)], numbers

    def score(self, rollouts: Sequence[Rollout]) -> None:
        """Fill in what each rollout earns; where completions are compared, neighbours are, two by two.

        Raises PluginError where a reward breaks its contract.
        """
        if self.method.compares:
            self.rewards.compare(rollouts)
        else:
            self.rewards.score(rollouts)
        longest, buffer = self.settings.sampling.max_tokens, self.settings.overlong_buffer
        for rollout in rollouts if buffer else ():
            punished = overlong(len(rollout.ids), longest, buffer)
            rollout.scores[OVERLONG] = Score(punished)
            rollout.reward += punished

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the batch's number says the rest."""
        rates = self.rates.state() if self.rates is not None else None
        return {"extra": self.extra, "pending": [prompt.id for prompt in self.pending], "solve_rates": rates}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; checkpoints from before there was any of it have none."""
        prompts = {prompt.id: prompt for prompt in self.prompts.kept}
        self.extra = state.get("extra", 0)
        self.pending = [prompts[id] for id in state.get("pending", ())]
        if self.rates is not None and state.get("solve_rates") is not None:
            self.rates.restore(state["solve_rates"])

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each score in the sum that a rollout earns."""
        weights = {name: reward.config.weight for name, reward in self.rewards.rewards.items()}
        return {**weights, OVERLONG: 1.0} if self.settings.overlong_buffer else weights

    def _prompts(self, pending: list[Prompt], number: int) -> tuple[list[Prompt], int]:
        """Return the next batch of prompts from `number` on, and the number of the one after.

        Where some are left out, the `pending` ones come first and those that are left over are put there. Each is due
        after `retry` epochs at the latest, so that there are always enough.
        """
        if self.rates is None:
            return self.prompts.of(number), number + 1
        while len(pending) < self.prompts.per_batch:
            waiting, epoch = {prompt.id for prompt in pending}, number // self.prompts.batches
            found = [one for one in self.prompts.of(number) if one.id not in waiting and self.rates.due(one.id, epoch)]
            pending += found
            number += 1
        taken = pending[: self.prompts.per_batch]
        del pending[: self.prompts.per_batch]
        return taken, number

    def _draw(self, prompts: Sequence[Prompt], number: int, spent: dict[str, float]) -> list[list[Rollout]]:
        """Return the scored groups of some prompts, all processes' together; adds up the seconds `spent`.

        `number` tells this draw of the same prompts from others.
        """
        started = time.perf_counter()
        mine = [prompts[place] for place in share([1] * len(prompts))]
        seed = self.prompts.seed * 1_000_003 + number
        drawn = [one for group in self.sampler.sample(mine, self.settings.group_size, seed) for one in group]
        sampled = time.perf_counter()
        self.score(drawn)
        spent["sampling"] += sampled - started
        spent["reward"] += time.perf_counter() - sampled
        whole = [rollout for part in distributed.gather(drawn) for rollout in part]
        return list(_groups(whole, self.settings.group_size))


def overlong(tokens: int, longest: int, share: float) -> float:
    """Return DAPO's soft overlong punishment (arXiv:2503.14476, equation 13): 0, falling to −1 in the last `share`."""
    buffer = share * longest
    return -min(1.0, max(0.0, (tokens - (longest - buffer)) / buffer))


def _groups(rollouts: Sequence[Rollout], size: int) -> Iterator[list[Rollout]]:
    for start in range(0, len(rollouts), size):
        yield list(rollouts[start : start + size])
