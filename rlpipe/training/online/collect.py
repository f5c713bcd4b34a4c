"""One batch of rollouts: drawn (`drawing`), and given all that is computed once for it.

Importing this module imports torch. Each process works on its own completions; at the end all of them hold the whole
batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlpipe.core import distributed
from rlpipe.engines.base import SeparateEngine
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.engines.shared_prefix import costs, supports_shared_prefix
from rlpipe.methods import correction
from rlpipe.methods.batch import Batch
from rlpipe.methods.losses import kl_estimate
from rlpipe.methods.online import Correction, KLIn, OnlineMethod
from rlpipe.models.lockstep import in_step
from rlpipe.rewards.combine import summary
from rlpipe.training.online.drawing import Drawing
from rlpipe.training.online.forward import sequence_logps
from rlpipe.training.online.processes import share, summed

if TYPE_CHECKING:
    from rlpipe.engines.sampler import Sampler
    from rlpipe.rewards.combine import Rewards
    from rlpipe.training.online.prompt_batches import PromptBatches
    from rlpipe.training.online.reference import Reference
    from rlpipe.training.online.value import Values

_log = logging.getLogger(__name__)


class Collector:
    """Makes batches of rollouts for a method."""

    def __init__(
        self,
        method: OnlineMethod,
        sampler: Sampler,
        rewards: Rewards,
        prompts: PromptBatches,
        reference: Reference | None,
        values: Values | None,
        teacher: nn.Module | None = None,
    ):
        self.method, self.sampler, self.rewards, self.prompts = method, sampler, rewards, prompts
        self.reference, self.values, self.teacher = reference, values, teacher
        self.settings = method.config
        self.drawing = Drawing(method, sampler, rewards, prompts)

    def collect(
        self,
        policy: nn.Module,
        number: int,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        more: bool = False,
    ) -> tuple[Batch, dict[str, float]]:
        """Return batch number `number` under the policy as it is, with its numbers for the log.

        `more` says that another batch comes after it, which is begun already where the method lags.

        Raises PluginError where a reward breaks its contract; nothing is trained on its batch.
        """
        groups, numbers = self.drawing.groups(number, more)
        drawn = time.perf_counter()
        batch = Batch([rollout for group in groups for rollout in group], self.settings.group_size)
        batch.score_weights = self.drawing.weights
        with autocast():
            self._score(batch, policy)
        self._correct(batch)
        kl = self._penalise(batch)
        batch.advantages = self.method.advantages(batch)
        numbers["seconds/scoring"] = time.perf_counter() - drawn
        if numbers.get("groups_without_signal") == 1 and self.method.smallest_group > 1:
            _log.warning("every group of a batch earned the same reward: the policy learnt nothing from it")
        return batch, self._numbers(batch, kl) | numbers

    def notes(self, model: Any) -> list[str]:
        """Say how the training pass and the old log-probabilities come about, for the run's record."""
        shared, reason = supports_shared_prefix(model)
        rows = "completions of a prompt may share a row" if shared else f"one row a completion: {reason}"
        if self.sampled_serve:
            return [rows]
        return [rows, "old log-probabilities come from a forward pass: those of drawing are not exactly the policy's"]

    def from_teacher(self, policy: nn.Module, rollouts: Sequence[Rollout]) -> list[float]:
        """Return the mean log-ratio, in nats, of the policy's probability to the teacher's of each rollout's tokens."""
        assert self.teacher is not None
        both = zip(self._logps(policy, rollouts), self._logps(self.teacher, rollouts), strict=True)
        return [float((mine - theirs).mean()) for mine, theirs in both]

    def _score(self, batch: Batch, policy: nn.Module) -> None:
        """Compute reference log-probabilities and values, and old log-probabilities where sampling's do not serve."""
        if not self.sampled_serve:
            several = self.settings.steps_per_batch > 1
            needed = several or self._penalises or self._compares or self.teacher is not None
            batch.old = self._each(batch, policy) if needed else None
        if self.reference is not None:
            with self.reference.model() as reference:
                batch.reference = self._each(batch, reference)
        if self.teacher is not None:
            batch.teacher = self._each(batch, self.teacher)
        if (values := self.values) is not None:
            tokens = self.settings.micro_batch_tokens
            model = policy if values.trunk is None else values.trunk
            batch.values = self._each(batch, model, lambda mine: values.of(policy, mine, tokens, costs(policy)))

    @property
    def sampled_serve(self) -> bool:
        """Whether the sampler's log-probabilities are the policy's own.

        Not when another engine drew, or an earlier policy, nor when tokens were left out of the draw (top-k, top-p,
        min-p), nor in bfloat16, where the sampler's rounding differs from the training pass's by more than a clip
        should see.
        """
        model: Any = self.sampler.loaded.model
        exact = not self.sampler.loaded.autocast and model.dtype == torch.float32
        itself = self.settings.lag == 0 and not isinstance(self.sampler.engine, SeparateEngine)
        return exact and self.settings.sampling.whole and itself

    @property
    def _compares(self) -> bool:
        """Whether the engine's log-probabilities are set against the policy's."""
        corrects = self.settings.correction is not Correction.none
        return self.settings.sampling.whole and (corrects or isinstance(self.sampler.engine, SeparateEngine))

    @property
    def _penalises(self) -> bool:
        return self.settings.kl_coef > 0 and self.settings.kl_in is KLIn.reward

    def _logps(self, model: nn.Module, rollouts: Sequence[Rollout]) -> list[Tensor]:
        settings = self.settings
        return sequence_logps(model, rollouts, settings.sampling.temperature, settings.micro_batch_tokens, costs(model))

    def _each(
        self, batch: Batch, model: nn.Module, of: Callable[[Sequence[Rollout]], list[Tensor]] | None = None
    ) -> Tensor:
        """Compute a number for every token [n] with a model, each process for its share of the rollouts.

        `of` computes it; by default it is the token's log-probability.
        """
        of = of or partial(self._logps, model)
        mine = share([len(rollout.prompt_ids) + len(rollout.ids) for rollout in batch.rollouts])
        whole = torch.zeros(len(batch.written))
        with in_step(model):
            found = of([batch.rollouts[place] for place in mine])
        if found:
            whole[batch.places(list(mine))] = torch.cat(found).float().cpu()
        device = self.sampler.loaded.model.device
        return summed(whole.to(device)).cpu() if distributed.world_size() > 1 else whole

    def _correct(self, batch: Batch) -> None:
        """Make up for the distance of the engine that drew from the policy, where that is asked for."""
        settings = self.settings
        if settings.correction is not Correction.none and batch.old is not None:
            given = (settings.correction.value, settings.correction_level.value, settings.correction_cap)
            batch.correction = correction.factors(batch, *given)

    def _penalise(self, batch: Batch) -> float | None:
        """Take the KL off the reward, where it counts there; return its mean over the model's tokens."""
        if batch.reference is None or batch.old is None:
            return None
        estimate = kl_estimate(batch.old, batch.reference, self.settings.kl_estimator.value)
        if self._penalises:
            batch.penalty = self.settings.kl_coef * estimate
        return float(estimate[batch.written].mean())

    def _numbers(self, batch: Batch, kl: float | None) -> dict[str, float]:
        rollouts, written, count = batch.rollouts, batch.written, len(batch.rollouts)
        numbers = summary(rollouts) | {
            "reward_std": float(batch.rewards.std(unbiased=False)),
            "advantage_std": float(batch.advantages[written].std(unbiased=False)) if written.any() else 0.0,
            "completion_length": len(written) / count,
            "ended_by_length": sum(rollout.finish is Finish.length for rollout in rollouts) / count,
        }
        if batch.teacher is not None and batch.old is not None:
            numbers["kl_from_teacher"] = float((batch.old - batch.teacher)[written].mean())
        if kl is not None:
            numbers["kl_at_start"] = kl
        numbers |= {f"engine/{name}": number for name, number in self._engine(batch).items()}
        if batch.penalty is not None:
            numbers["reward_after_kl"] = float(batch.totals.mean())
        if self.sampler.tools:
            calls = [call for rollout in rollouts for call in rollout.calls]
            numbers["tool_calls"] = len(calls) / count
            numbers["tool_errors"] = sum(call.failed for call in calls) / max(1, len(calls))
        if self.sampler.environments is not None:
            episodes = [rollout.turns or [] for rollout in rollouts]
            numbers["turns"] = sum(map(len, episodes)) / count
            numbers["episodes_finished"] = sum(bool(turns) and turns[-1].done for turns in episodes) / count
        if batch.returns is not None and batch.values is not None:
            left = (batch.returns - batch.values)[written].var(unbiased=False)
            numbers["explained_variance"] = float(1 - left / batch.returns[written].var(unbiased=False).clamp(min=1e-8))
        return numbers

    def _engine(self, batch: Batch) -> dict[str, float]:
        """Return how far from the policy the engine was."""
        found: dict[str, float] = {}
        if isinstance(self.sampler.engine, SeparateEngine) and (gap := self.sampler.engine.gap) is not None:
            found = {"gap": gap.mean, "gap_largest": gap.largest}
        if self._compares and batch.old is not None:
            found |= correction.numbers(batch)
        if batch.correction is not None:
            found["ratio_bounded"] = correction.bounded(batch, self.settings.correction_cap)
        return found
