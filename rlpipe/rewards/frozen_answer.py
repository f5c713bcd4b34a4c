"""A reward from a frozen language model's answer: the policy writes what it reasons from, and a verifier judges it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import Head, RewardConfig
from rlpipe.config.resolved import default
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import ModelError, Problem
from rlpipe.engines.frozen import FrozenModelConfig, load_for_reward, model_problems
from rlpipe.engines.rollout import SamplingConfig, Score, stop_problems
from rlpipe.engines.rows import Endings, Row
from rlpipe.engines.transformers import Transformers, TransformersConfig
from rlpipe.rewards.base import Reward, RewardContext

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout
    from rlpipe.models.base import Loaded


@changing(Changes.result)
@dataclass
class FrozenAnswerConfig(FrozenModelConfig):
    """Which frozen model answers, from where to where, and who says what is right."""

    cue: str = "\n####"
    """What the answer begins with, right after the completion. It is verified with what the model writes: `\\n####` for
    gsm8k, `\\n<answer>` for countdown."""
    verifier: str = "gsm8k"
    """The exact reward that verifies the answer, with its default settings."""
    max_tokens: int = setting(32, at_least=1, at_most=10**6, usual=(None, 1024))
    """Longest answer in tokens, the cue not counted."""
    stop: list[str] = dataclasses.field(default_factory=lambda: ["\n"])
    """End the answer after any of these strings."""


class FrozenAnswer(Reward):
    """The verifier's score of what a frozen model answers from the completion: the policy writes its context.

    The frozen model reads, in its own chat template, the prompt, the assistant's header, the completion and `cue`; it
    goes on greedily, for `max_tokens` at most; `cue` and what it writes are verified, and the completion itself is not:
    an answer in it counts where the frozen model repeats it. An empty completion leaves the model with the prompt. Of
    what leaves no room for the answer in its context, the front is cut; `cut` is the share of such completions.
    Without `model` or `stage` the frozen model is the policy as it was at the start.
    """

    Config = FrozenAnswerConfig
    config: FrozenAnswerConfig
    verifies = True
    fallible = True
    model_head = Head.causal_lm
    loaded: Loaded

    def __init__(self, config: RewardConfig):
        super().__init__(config)
        self.verifier: Reward = default("reward", self.config.verifier)
        self.columns = self.verifier.columns
        self.sampling = SamplingConfig(temperature=0.0, max_tokens=self.config.max_tokens, stop=self.config.stop)
        self.engine = Transformers(TransformersConfig())

    def problems(self) -> list[Problem]:
        """Say what is wrong with the model's choice, the verifier and the stop strings."""
        found = model_problems(self.config, required=False) + stop_problems(self.config.stop, "")
        if not self.verifier.cases() or self.verifier.reads_episode:
            what = f"{self.config.verifier} verifies no text"
            found.append(Problem("verifier", what, "choose gsm8k, countdown, math …"))
        return found

    def unscorable(self, columns: Mapping[str, Any]) -> str | None:
        """Say what the verifier says."""
        return self.verifier.unscorable(columns)

    def start(self, context: RewardContext) -> None:
        """Prove the verifier and load the frozen model. Raises PluginError and ModelError."""
        from rlpipe.rewards.combine import prove

        prove(f"{self.config.name}.verifier", self.verifier)
        self.loaded = load_for_reward(
            self.config, context.config, context.policy, context.device, context.folder, Head.causal_lm
        )
        problem = answer_problem(self.config, self._context())
        if problem is not None:
            raise ModelError(f"reward.{self.config.name}.{problem.where}", problem.what, problem.fix)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Let the model answer from every completion, equal ones once; the parts are the verifier's, and `cut`."""
        from rlpipe.engines.prompts import begun

        begins = [f"{one.text}{self.config.cue}" for one in rollouts]
        contexts = begun([one.prompt for one in rollouts], begins, self.loaded.tokenizer)
        length = self._context()
        most = max(map(len, contexts), default=0) if length is None else length - self.config.max_tokens
        read = [tuple(ids[-most:]) for ids in contexts]
        answers = self._answers(list(dict.fromkeys(read)))
        answered = [
            dataclasses.replace(one, text=f"{self.config.cue}{answers[ids]}")
            for one, ids in zip(rollouts, read, strict=True)
        ]
        scores = list(self.verifier.score(answered))
        for score, ids in zip(scores, contexts, strict=True):
            score.parts["cut"] = float(len(ids) > most)
        return scores

    def _answers(self, contexts: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], str]:
        """Return how the model goes on from each context."""
        rows = [Row(number, 0, self.config.max_tokens, list(ids)) for number, ids in enumerate(contexts)]
        if rows:
            self.engine.write(self.loaded, rows, self.sampling, Endings(self.loaded, self.sampling))
        texts = [str(self.loaded.tokenizer.decode(row.ids, skip_special_tokens=True)) for row in rows]
        return dict(zip(contexts, texts, strict=True))

    def _context(self) -> int | None:
        found: int | None = getattr(self.loaded.model.config.get_text_config(), "max_position_embeddings", None)
        return found


def answer_problem(config: FrozenAnswerConfig, context: int | None) -> Problem | None:
    """Return what is wrong where an answer alone fills the frozen model's context, in tokens; None where nothing is."""
    if context is None or config.max_tokens < context:
        return None
    what = f"answers of {config.max_tokens} tokens leave nothing of the frozen model's {context} for what it reads"
    return Problem("max_tokens", what, f"set it well below {context}, or name a model with a longer context")
