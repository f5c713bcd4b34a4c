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
from rlpipe.models.lockstep import in_step
from rlpipe.rewards.scoring import Scoring
from rlpipe.training.online.flight import Flight
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
        self.flight: Flight | None = None
        """The next batch's completions, where they were begun already: part of a checkpoint."""

    def groups(self, number: int, more: bool = False) -> tuple[list[list[Rollout]], dict[str, float]]:
        """Return the groups of batch number `number`, scored, in the order drawn, with numbers for the log.

        Without `dynamic_sampling` they are those of as many prompts. With it, batches of prompts are drawn until enough
        groups have a signal; the first of these are taken, and others make up the rest where the bound leaves too few.
        With `lag` they were begun a batch ago, and those of the next batch are begun now, if there is to be one more.
        """
        numbers: dict[str, float] = {}
        drawn = self._begun(number, more, numbers) if self.settings.lag else self._drawn(number, numbers)
        wanted = self.settings.prompts_per_batch
        signal = [self.method.has_signal(group) for group in drawn]
        chosen = sorted(range(len(drawn)), key=lambda place: not signal[place])[:wanted]
        if self.settings.group_size > 1:
            numbers["groups_without_signal"] = 1 - sum(signal) / len(signal)
        if self.settings.dynamic_sampling:
            earned = [rollout.reward for group in drawn for rollout in group]
            numbers |= {"draws": len(drawn) / wanted, "reward_drawn": math.fsum(earned) / len(earned)}
        if self.rates is not None:
            numbers |= self.rates.numbers()
        return [drawn[place] for place in sorted(chosen)], numbers

    def _drawn(self, number: int, numbers: dict[str, float]) -> list[list[Rollout]]:
        """Draw batch number `number`, again and again until enough groups have a signal or the bound is reached."""
        self.sampler.engine.policy_changed()
        drawn: list[list[Rollout]] = []
        after, pending = number + self.extra, list(self.pending)
        for _ in range(self.settings.dynamic_sampling + 1):
            prompts, after = self._prompts(pending, after)
            drawn += self._landed(self._launched(prompts, after), numbers)
            if sum(map(self.method.has_signal, drawn)) >= self.settings.prompts_per_batch:
                break
        # From here on nothing can end the run: what is noted goes into its next checkpoint.
        self._note(drawn, after)
        self.extra, self.pending = after - number - 1, pending
        return drawn

    def _begun(self, number: int, more: bool, numbers: dict[str, float]) -> list[list[Rollout]]:
        """Return batch number `number`, which was begun before, and begin the next one."""
        flight = self.flight or self._begin(number)
        drawn = self._landed(flight, numbers)  # where a reward pauses the run here, the flight goes into a checkpoint
        self._note(drawn, flight.after)
        self.flight = None
        if more:
            self._begin(number + 1)
        return drawn

    def _begin(self, number: int) -> Flight:
        self.sampler.engine.policy_changed()
        prompts, after = self._prompts(self.pending, number + self.extra)
        self.extra = after - number - 1
        self.flight = self._launched(prompts, after)
        return self.flight

    def settle(self) -> None:
        """Wait until nothing is drawn and scored any more, so that others can use the engine and the rewards."""
        if self.flight is not None:
            self.flight.settle()

    def abandon(self) -> None:
        """Forget what was begun, at the end of training: nothing more is asked of rewards."""
        if self.flight is not None:
            self.flight.abandon()

    def score(self, rollouts: Sequence[Rollout]) -> None:
        """Fill in what each rollout earns; where completions are compared, neighbours are, two by two.

        Raises PluginError where a reward breaks its contract.
        """
        Scoring(self.rewards, self.method.compares).finish(rollouts)
        self._punish(rollouts)

    def _punish(self, rollouts: Sequence[Rollout]) -> None:
        longest, buffer = self.settings.sampling.max_tokens, self.settings.overlong_buffer
        for rollout in rollouts if buffer else ():
            punished = overlong(len(rollout.ids), longest, buffer)
            rollout.scores[OVERLONG] = Score(punished)
            rollout.reward += punished

    def begun(self) -> list[Rollout] | None:
        """Return the completions of all processes that were begun for the next batch, once they are drawn.

        Every process must call it. They are not scored yet: part of a checkpoint.
        """
        if self.flight is None:
            return None
        return [rollout for part in distributed.gather(self.flight.drawn()) for rollout in part]

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside what was begun: the batch's number says the rest."""
        rates = self.rates.state() if self.rates is not None else None
        state = {"extra": self.extra, "pending": [prompt.id for prompt in self.pending], "solve_rates": rates}
        return state | ({"begun": self.flight.after} if self.flight is not None else {})

    def restore(self, state: Mapping[str, Any], begun: Sequence[Rollout] | None = None) -> None:
        """Take back what `state` and `begun` gave; checkpoints from before there was any of it have none."""
        prompts = {prompt.id: prompt for prompt in self.prompts.kept}
        self.extra = state.get("extra", 0)
        self.pending = [prompts[id] for id in state.get("pending", ())]
        if self.rates is not None and state.get("solve_rates") is not None:
            self.rates.restore(state["solve_rates"])
        if begun is not None:
            groups = list(_groups(begun, self.settings.group_size))
            mine = [one for place in share([1] * len(groups)) for one in groups[place]]
            self.flight = Flight.of(mine, Scoring(self.rewards, self.method.compares), state["begun"])

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

    def _launched(self, prompts: Sequence[Prompt], after: int) -> Flight:
        """Begin to draw this process's share of some prompts, and to score it; `after` tells this draw from others."""
        mine = [prompts[place] for place in share([1] * len(prompts))]
        seed, size = self.prompts.seed * 1_000_003 + after - 1, self.settings.group_size
        scoring = Scoring(self.rewards, self.method.compares)

        def draw() -> list[Rollout]:
            with in_step(self.sampler.loaded.model):
                groups = self.sampler.sample(mine, size, seed, ended=scoring.add if scoring.beside else None)
            return [one for group in groups for one in group]

        beside = self.settings.lag > 0 and self.sampler.draws_beside_training
        if beside:
            self.sampler.synchronise()
        return Flight(draw, scoring, after, beside)

    def _landed(self, flight: Flight, numbers: dict[str, float]) -> list[list[Rollout]]:
        """Return the scored groups of a flight, all processes' together; adds up the seconds spent in `numbers`."""
        started = time.perf_counter()
        drawn = flight.landed()
        self._punish(drawn)
        waited = time.perf_counter() - started
        for name, seconds in {"sampling": flight.seconds, "reward": waited}.items():
            numbers[f"seconds/{name}"] = numbers.get(f"seconds/{name}", 0.0) + seconds
        whole = [rollout for part in distributed.gather(drawn) for rollout in part]
        return list(_groups(whole, self.settings.group_size))

    def _note(self, drawn: Sequence[Sequence[Rollout]], after: int) -> None:
        if self.rates is not None:
            self.rates.note(drawn, (after - 1) // self.prompts.batches)


def overlong(tokens: int, longest: int, share: float) -> float:
    """Return DAPO's soft overlong punishment (arXiv:2503.14476, equation 13): 0, falling to −1 in the last `share`."""
    buffer = share * longest
    return -min(1.0, max(0.0, (tokens - (longest - buffer)) / buffer))


def _groups(rollouts: Sequence[Rollout], size: int) -> Iterator[list[Rollout]]:
    for start in range(0, len(rollouts), size):
        yield list(rollouts[start : start + size])
