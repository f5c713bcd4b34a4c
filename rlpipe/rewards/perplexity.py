"""A reward from a frozen language model: how much a completion makes it expect the reference answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rlpipe.config.kinds import Head, RewardConfig
from rlpipe.config.resolved import default
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import PluginError, Problem
from rlpipe.engines.frozen import FrozenModelConfig, load_for_reward, model_problems
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Reward, RewardContext

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout
    from rlpipe.engines.scoring import Span
    from rlpipe.models.base import Loaded


class Mode(Enum):
    """What the reference answer's likelihood is compared with."""

    absolute = "absolute"
    """With nothing: the log-likelihood itself."""
    relative = "relative"
    """With its likelihood after the prompt alone."""
    hybrid = "hybrid"
    """As `relative`, plus an exact verifier's score; with `form=perplexity` the mean of `relative` and `absolute`."""


class Form(Enum):
    """How likelihoods become a reward."""

    likelihood = "likelihood"
    """Mean log-likelihoods of a token, in nats: without bounds."""
    perplexity = "perplexity"
    """Perplexities, as a reward from 0 to 1."""


@changing(Changes.result)
@dataclass
class PerplexityRewardConfig(FrozenModelConfig):
    """Which frozen model, and what its likelihoods are compared with."""

    mode: Mode = Mode.relative
    form: Form = Form.likelihood
    column: str = "reference"
    """The dataset column that holds the reference answer."""
    cue: str = "\nAnswer:"
    """What stands between the completion and the reference answer."""
    verifier: str = "gsm8k"
    """The exact reward that `mode=hybrid` adds, with its default settings; none with `form=perplexity`."""
    verifier_weight: float = setting(1.0, finite=True, usual=(-1000, 1000), unused_if="mode!=hybrid")
    """The verifier's share in `mode=hybrid`."""


class PerplexityReward(Reward):
    """The log-likelihood that a frozen model gives to the reference answer s after prompt x and completion y.

    With l(s | c) = 1/|s| · Σ_t ln p(s_t | c, s_<t), the mean over the tokens of s (so that long answers
    count as short ones do, and exp(-l) is the perplexity):

        absolute    l(s | x, y)
        relative    l(s | x, y) - l(s | x)
        hybrid      l(s | x, y) - l(s | x) + verifier_weight · verifier(y)

    and with `form=perplexity`, where ppl = exp(-l):

        absolute    1 / ppl(s | x, y)
        relative    max(0, 1 - ppl(s | x, y) / ppl(s | x))
        hybrid      the mean of both

    c is laid out by the frozen model's own chat template: the prompt, the assistant's header, the
    completion (or nothing), `cue`; then a space and s. Without `model` or `stage` the frozen model is
    the policy as it was at the start. What is longer than its context is cut at the front.
    Rewards of this kind: VeriFree (arXiv:2505.21493), RLPR (arXiv:2506.18254); by perplexities VR-CLI
    (arXiv:2503.22828), whose relative form this is without its steps.
    """

    Config = PerplexityRewardConfig
    config: PerplexityRewardConfig
    model_head = Head.causal_lm
    loaded: Loaded

    def __init__(self, config: RewardConfig):
        super().__init__(config)
        self.verifier: Reward | None = None
        self.columns = (self.config.column,)
        if self.config.mode is Mode.hybrid and self.config.form is Form.likelihood:
            verifier: Reward = default("reward", self.config.verifier)
            self.verifier = verifier
            self.columns = tuple(dict.fromkeys((*self.columns, *verifier.columns)))

    def problems(self) -> list[Problem]:
        """Say what is wrong with the model's choice and with the verifier."""
        found = model_problems(self.config, required=False)
        if self.verifier is not None and not self.verifier.cases():
            found.append(
                Problem("verifier", f"{self.config.verifier} is no verifier", "choose gsm8k, countdown, math …")
            )
        return found

    def start(self, context: RewardContext) -> None:
        """Prove the verifier and load the frozen model. Raises PluginError and ModelError."""
        from rlpipe.rewards.combine import prove

        if self.verifier is not None:
            prove(f"{self.config.name}.verifier", self.verifier)
        self.loaded = load_for_reward(
            self.config, context.config, context.policy, context.device, context.folder, Head.causal_lm
        )

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score completions; the parts are the log-likelihoods with and without the completion, and the verifier's."""
        from rlpipe.engines.scoring import span_likelihoods

        # A prompt alone is the same for all its completions.
        alone = {} if self.config.mode is Mode.absolute else {id(one.prompt): one for one in rollouts}
        spans = self._spans(rollouts, [one.text for one in rollouts])
        spans += self._spans(list(alone.values()), [""] * len(alone))
        found = [one.per_token for one in span_likelihoods(self.loaded, spans, self.config.batch_tokens)]
        bases = dict(zip(alone, found[len(rollouts) :], strict=True))
        pairs = zip(found[: len(rollouts)], rollouts, strict=True)
        scores = [self._score(after, bases.get(id(one.prompt))) for after, one in pairs]
        if self.verifier is not None:
            for score, exact in zip(scores, self.verifier.score(rollouts), strict=True):
                score.value += self.config.verifier_weight * exact.value
                score.parts["verifier"], score.parsed = exact.value, exact.parsed
        return scores

    def _score(self, after: float, alone: float | None) -> Score:
        """Score the reference by its mean log-likelihoods after the completion and after the prompt alone."""
        parts = {"with_completion": after} | ({} if alone is None else {"prompt_alone": alone})
        gain = after if alone is None else after - alone
        if self.config.form is Form.likelihood:
            return Score(gain, parts)
        absolute, relative = math.exp(after), -math.expm1(-max(gain, 0.0))  # no power of e above 1, so none overflows
        values = {Mode.absolute: absolute, Mode.relative: relative, Mode.hybrid: (absolute + relative) / 2}
        return Score(values[self.config.mode], parts)

    def _spans(self, rollouts: Sequence[Rollout], completions: Sequence[str]) -> list[Span]:
        """Lay out contexts and references; a reference has the same tokens after every context."""
        from rlpipe.engines.prompts import begun
        from rlpipe.engines.scoring import Span
        from rlpipe.models.tokens import encode

        tokenizer = self.loaded.tokenizer
        begins = [f"{text}{self.config.cue}" for text in completions]
        contexts = begun([one.prompt for one in rollouts], begins, tokenizer)
        answers = encode([f" {self._reference(one)}" for one in rollouts], tokenizer)
        return [Span(context + answer, len(answer)) for context, answer in zip(contexts, answers, strict=True)]

    def _reference(self, rollout: Rollout) -> str:
        reference = str(rollout.prompt.columns[self.config.column]).strip()
        if not reference:
            raise PluginError(
                f"reward.{self.config.name}",
                f"row {rollout.prompt.id} has nothing in column '{self.config.column}'",
                "leave such rows out of the dataset, or name another column",
            )
        return reference
