"""The base of every on-policy method: an advantage estimator and a policy loss, with vetted settings.

To add one: put its knobs into a `Config`, write `advantages` and `policy_loss`, and say by `aggregate` how
completions of different lengths count. Where completions come from, rewards, KL, batches and checkpoints are the same
for all, and none of a method's business.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from rlpipe.config.kinds import MethodConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.frozen import ReferenceConfig, reference_problems
from rlpipe.engines.rollout import SamplingConfig, training_problems
from rlpipe.methods.library import LibraryMethod

if TYPE_CHECKING:
    from torch import Tensor

    from rlpipe.config.schema import RunConfig
    from rlpipe.engines.rollout import Rollout
    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.losses import Loss


class KLIn(Enum):
    """Where the distance from the reference counts."""

    reward = "reward"
    """It is taken off the reward (RLOO, PPO)."""
    loss = "loss"
    """It is added to the loss, token by token (GRPO)."""


class KLEstimator(Enum):
    """How the KL from policy to reference is estimated at a sampled token (joschu.net/blog/kl-approx.html)."""

    k1 = "k1"
    """log π − log π_ref: unbiased, may be negative."""
    k2 = "k2"
    """Half its square: biased, with the KL's own gradient on-policy."""
    k3 = "k3"
    """π_ref/π − 1 + log π − log π_ref: unbiased, never negative."""


class Correction(Enum):
    """What is done about completions that another policy drew: an engine's, which differs by rounding, or an earlier
    one."""

    none = "none"
    """Nothing: they count as the policy's own."""
    truncate = "truncate"
    """The policy loss is multiplied with the ratio of the policy's probability to the engine's, bounded from above."""
    mask = "mask"
    """The same, but ratios out of bounds count as 0: nothing is learnt there."""


class CorrectionLevel(Enum):
    """Of what that ratio is taken."""

    token = "token"
    """Each token: little variance, some bias (verl's default)."""
    completion = "completion"
    """Each whole completion: no bias but for the bound, far more variance (TRL's default)."""


class Aggregate(Enum):
    """How completions of different lengths count in the loss."""

    completion = "completion"
    """Every completion alike: the mean of each one's tokens (GRPO, arXiv:2402.03300)."""
    token = "token"
    """Every token alike (DAPO, arXiv:2503.14476)."""
    constant = "constant"
    """The sum of each one's tokens over `sampling.max_tokens` (Dr. GRPO, arXiv:2503.20783)."""
    sum = "sum"
    """The sum of each one's tokens: the gradient of its log-probability, as in the policy-gradient theorem."""


@changing(Changes.result)
@dataclass
class SolveRateConfig:
    """Which prompts are drawn, by how often the policy has solved them: a curriculum by measured success.

    Prompts leave while their running rate lies outside, and are tried again from time to time.
    """

    least: float = setting(0.0, at_least=0, at_most=1)
    """Prompts whose completions are right more seldom are left out."""
    most: float = setting(1.0, at_least=0, at_most=1)
    """Prompts whose completions are right more often are left out; 0.99 leaves out what is always solved."""
    newest: float = setting(0.5, above=0, at_most=1)
    """The weight of a prompt's newest group in its running rate; 1 forgets all others."""
    retry: int = setting(4, at_least=1, at_most=10**6)
    """Epochs after which a prompt that was left out is drawn again, so that it can enter."""

    @property
    def active(self) -> bool:
        """Whether any prompt can leave."""
        return self.least > 0 or self.most < 1


@changing(Changes.result)
@dataclass
class OnlineConfig(MethodConfig):
    """What every on-policy method can be told.

    A batch of rollouts is `batch_size · minibatches` completions, `group_size` of each prompt. It is used for
    `minibatches · epochs_per_batch` optimiser steps; then the next one is drawn.
    """

    batch_size: int = 64
    """Completions per optimiser step, over all devices together."""
    schedule: str = "constant_with_warmup"
    """The learning-rate schedule: any name that transformers knows (linear, cosine, constant_with_warmup …)."""
    warmup: float = 0.0
    """Share of the steps in which the learning rate rises from 0: the first batch of rollouts would teach nothing."""
    group_size: int = setting(4, at_least=1, at_most=4096, usual=(None, 256), timed=True)
    """Completions of each prompt. RLOO's paper uses 2 and 4 (arXiv:2402.14740), GRPO's 64."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How completions are drawn."""
    curriculum: str | None = None
    """Easy prompts first, in every epoch: the prompts' column that tells how hard each is, a number or a list whose
    length counts (`steps` of GSM8K, `nums` of Countdown); null for a random order (Bengio
    et al., "Curriculum learning", doi:10.1145/1553374.1553380)."""
    solve_rate: SolveRateConfig = field(default_factory=SolveRateConfig)
    """Which prompts are drawn, by how often the policy has solved them (as in arXiv:2504.03380, by a running rate)."""
    micro_batch_tokens: int = setting(8192, at_least=1, at_most=10**9, usual=(64, 2**22), timed=True, rounding=True)
    """Tokens per forward pass on one device, padding included; changes memory and speed, not the result."""
    epochs_per_batch: int = setting(1, at_least=1, at_most=10**4, usual=(None, 16), timed=True)
    """Passes over each batch of rollouts; above 1 the completions are the more off-policy the later they are used."""
    minibatches: int = setting(1, at_least=1, at_most=10**5, usual=(None, 256), timed=True)
    """Optimiser steps per pass over a batch of rollouts."""
    kl_coef: float = setting(0.05, at_least=0, zero="no reference", at_most=10**4, usual=(None, 10), timed=True)
    """Weight of the KL from the reference; 0 needs none."""
    reference: ReferenceConfig = setting(ReferenceConfig, Changes.indirect)
    """The model that the KL is measured from; by default the policy's own start."""
    kl_in: KLIn = setting(KLIn.reward, unused_if="kl_coef=0")
    kl_estimator: KLEstimator = setting(KLEstimator.k1, unused_if="kl_coef=0")
    entropy_coef: float = setting(0.0, at_least=0, zero="no bonus", at_most=1000, usual=(None, 0.1))
    """Weight of an entropy bonus: the mean entropy of the policy's tokens, in nats, is taken off the loss (A3C,
    arXiv:1602.01783), so that the policy keeps trying."""
    overlong_buffer: float = setting(0.0, at_least=0, zero="no penalty", at_most=1)
    """Share of `sampling.max_tokens`, at its end, in which a completion's reward falls from 0 to −1 beside what else it
    earns (DAPO's soft overlong punishment, arXiv:2503.14476, equation 13; there 0.2). Logged as `reward/overlong`."""
    dynamic_sampling: int = setting(0, at_least=0, zero="off", at_most=1000, usual=(None, 32), timed=True)
    """Further batches of prompts that may be drawn for one batch of rollouts, until each of its groups has completions
    that earned differently (DAPO's dynamic sampling, arXiv:2503.14476); 0 takes what was drawn. Where they do not
    suffice, groups without signal make up the rest."""
    sync_reference: int = setting(0, at_least=0, zero="never", at_most=10**9)
    """Move the reference towards the policy every so many optimiser steps (TR-DPO, arXiv:2404.09656); 0 never does."""
    sync_weight: float = setting(1.0, above=0, at_most=1, unused_if="sync_reference=0")
    """The policy's share when the reference moves: 1 copies it, less averages."""
    lag: int = setting(0, at_least=0, at_most=1, zero="every batch is drawn by the policy that learns from it")
    """1 draws each batch of rollouts with the weights before the last batch's steps: rewards are asked, and an engine
    beside the training draws, while the policy is trained. `correction` makes up for the difference (as in
    arXiv:2505.24298)."""
    correction: Correction = Correction.none
    correction_level: CorrectionLevel = setting(CorrectionLevel.token, unused_if="correction=none")
    correction_cap: float = setting(2.0, above=1, at_most=1e6, unused_if="correction=none")
    """The largest ratio; with `mask`, its inverse is the smallest. verl takes 2 for tokens, TRL 3 for completions."""
    samples_every: int = setting(50, Changes.nothing, at_least=0, zero="never", at_most=10**9)
    """Optimiser steps between two looks at a few completions (samples.jsonl, tracker, terminal); 0 for none."""

    @property
    def steps_per_batch(self) -> int:
        """Optimiser steps made with one batch of rollouts."""
        return self.epochs_per_batch * self.minibatches

    @property
    def prompts_per_batch(self) -> int:
        """Prompts in one batch of rollouts."""
        return self.batch_size * self.minibatches // self.group_size


@changing(Changes.result)
@dataclass
class ClippedConfig(OnlineConfig):
    """A policy loss whose probability ratios are clipped (arXiv:1707.06347)."""

    clip: float = setting(0.2, above=0, at_most=1, usual=(0.01, 0.5))
    """Ratios of new to old probability are clipped to 1 ± this (the paper's value)."""
    clip_high: float | None = setting(None, above=0, at_most=1000, usual=(0.01, 10))
    """The upper bound's own distance from 1 (0.28 in DAPO, arXiv:2503.14476); null for `clip`."""


class OnlineMethod(LibraryMethod):
    """A method that learns from completions of its own policy."""

    Config: ClassVar[type[OnlineConfig]] = OnlineConfig
    config: OnlineConfig
    takes = (Prompt,)
    trainer = "rlpipe.training.online.build"
    takes_reward = True
    takes_tool = True
    takes_environment = True
    draws = True
    library = ("transformers", "TrainingArguments", "Trainer")
    micro_batched = False
    library_fields = {  # noqa: RUF012
        "per_device_train_batch_size": "micro_batch_tokens",
        "gradient_accumulation_steps": "micro_batch_tokens",
        "train_sampling_strategy": "batch_size",
    }
    has_values: ClassVar[bool] = False
    """Whether a value function is trained beside the policy."""
    whole_groups: ClassVar[bool] = False
    """Whether the loss takes all completions of a prompt together, so that they stay in one step and micro-batch."""
    has_teacher: ClassVar[bool] = False
    """Whether a frozen model that `teacher` names scores the completions' tokens."""
    corrects: ClassVar[bool] = True
    """Whether `correction` makes up for completions that another policy drew; False where any may be learnt from."""
    smallest_group: ClassVar[int] = 1
    """Completions of a prompt that the estimator needs."""

    @abstractmethod
    def advantages(self, batch: Batch) -> Tensor:
        """Return what each of the batch's n completion tokens is worth: [n]."""

    @abstractmethod
    def policy_loss(self, tokens: Tokens) -> Loss:
        """Return the loss of some completions' tokens, without any KL; tokens count by `tokens.weights`."""

    def has_signal(self, group: Sequence[Rollout]) -> bool:
        """Whether a prompt's completions earned differently, so that comparing them teaches something."""
        return len({one.reward for one in group}) > 1

    @property
    def aggregate(self) -> Aggregate:
        """How completions of different lengths count."""
        return Aggregate.token

    @property
    def compares(self) -> bool:
        """Whether a judge says which of two completions is better, in place of rewards for each."""
        return False

    @property
    def value_model(self) -> bool:
        """Whether the value function has a model of its own beside the policy's."""
        return False

    @property
    def needs_reference_model(self) -> bool:
        """Whether a reference takes part in training."""
        return self.config.kl_coef > 0

    def arguments(self) -> dict[str, Any]:
        """Return nothing: the trainer's own arguments are all the run's."""
        return {}

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        settings, found = self.config, list(self._group_problems())
        if settings.overlong_buffer and not self.takes_reward:
            found.append(Problem("method.overlong_buffer", "there is no reward to take it off", "set it to 0"))
        if settings.overlong_buffer and "overlong" in config.reward:
            what = "a reward has the name under which its penalty is logged"
            found.append(Problem("method.overlong_buffer", what, "set it to 0, or give the reward another name"))
        if settings.sampling.max_tokens >= settings.max_length:
            drawn, room = settings.sampling.max_tokens, settings.max_length
            what = f"completions of {drawn} tokens leave no room for a prompt in {room}"
            found.append(Problem("method.sampling.max_tokens", what, "lower it, or raise method.max_length"))
        if settings.solve_rate.least >= settings.solve_rate.most:
            what = f"no rate lies above {settings.solve_rate.least:g} and below {settings.solve_rate.most:g}"
            found.append(Problem("method.solve_rate", what, "give a window, the least first"))
        if settings.sync_reference and not self.needs_reference_model:
            what = "there is no reference to move, for method.kl_coef is 0"
            found.append(Problem("method.sync_reference", what, "set it to 0, or give method.kl_coef"))
        if settings.correction is not Correction.none and not self.corrects:
            what = "the loss is no expectation over the engine's draws, so that ratios correct nothing"
            found.append(Problem("method.correction", what, "set method.correction=none"))
        if settings.correction is not Correction.none and not settings.sampling.whole:
            what = "top-p, top-k and min-p leave tokens out of the draw, so the ratio to the policy would be biased"
            fix = "set method.sampling.top_p=1, top_k=0 and min_p=0, or method.correction=none"
            found.append(Problem("method.correction", what, fix))
        if settings.lag and self.corrects and settings.correction is Correction.none:
            what = "completions would count as the policy's own, and an earlier policy draws them"
            found.append(Problem("method.lag", what, "set method.correction=truncate, or method.lag=0"))
        if settings.lag and settings.dynamic_sampling:
            what = "how often to draw is known when all are scored, and the next batch is begun before that"
            found.append(Problem("method.lag", what, "set it to 0, or method.dynamic_sampling=0"))
        found += training_problems(settings.sampling, "method.sampling.")
        moves = settings.sync_reference > 0
        return found + reference_problems(settings.reference, self.needs_reference_model, moves, config)

    def _group_problems(self) -> Iterator[Problem]:
        settings = self.config
        size, together = settings.group_size, settings.batch_size * settings.minibatches
        if size < self.smallest_group:
            what = f"{settings.name} compares completions of one prompt with each other, and there is only one"
            yield Problem("method.group_size", what, "set 2 or more (4 is usual)")
        if size > 0 and together % size:
            what = f"{together} completions (batch_size · minibatches) are no whole groups of {size}"
            fitting = -(-together // size) * size
            fix = f"set method.batch_size={fitting} with method.minibatches=1, or another method.group_size"
            yield Problem("method.batch_size", what, fix)
        elif size > 0 and self.whole_groups and settings.batch_size % size:
            what = f"a step of {settings.batch_size} completions would split groups of {size}"
            yield Problem("method.batch_size", what, f"set a multiple of {size}")
        if settings.dynamic_sampling and self.smallest_group < 2:
            what = f"{settings.name} learns from completions whose group earned all the same, too"
            yield Problem("method.dynamic_sampling", what, "set it to 0, or take grpo, rloo or online_dpo")
