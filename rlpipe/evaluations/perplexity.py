"""How well the model predicts reference answers: exp of the mean negative log-probability per token.

Plain, of the whole reference; and of its final answer alone, with and without the model's own reasoning before it:
the model writes until it is about to give an answer, then the reference's answer is put in its place and scored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlpipe.config.kinds import EvaluationConfig
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Completion, Example, Prompt, text_of
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.evaluations.base import Evaluation, EvaluationContext, Row
from rlpipe.evaluations.completions import LikeliestConfig, complete, draw_problems, drawing, draws_repeat, settings
from rlpipe.models.base import Loaded


@changing(Changes.rows)
@dataclass
class PerplexityConfig(EvaluationConfig):
    """Whether the model reasons first, and where answers begin."""

    reasoning: bool = False
    """Also score the reference's final answer after the model's own reasoning, and without any."""
    cue: str = setting("####", Changes.indirect)
    """What a final answer stands behind, in references and in what the model writes (with `reasoning`). A reference
    without it is an answer as a whole."""
    sampling: LikeliestConfig = setting(LikeliestConfig, Changes.indirect)
    """How the reasoning is drawn."""
    seed: int = setting(0, Changes.indirect, at_least=0, below=2**32)
    """Decides what is drawn, where the temperature is above 0."""


class Perplexity(Evaluation):
    """Perplexity of reference answers given their prompts, and given the model's own reasoning too."""

    Config = PerplexityConfig
    config: PerplexityConfig
    takes = (Completion,)

    def __init__(self, config: EvaluationConfig):
        super().__init__(config)
        self.draws = self.config.reasoning

    def problems(self) -> list[Problem]:
        """Say what is wrong with stop strings and cue."""
        found = draw_problems(self.config.sampling)
        if not self.config.cue.strip():
            found.append(Problem("cue", "is empty", "give what stands before the final answer, for example '####'"))
        return found

    def numbers(self, config: RunConfig) -> Collection[str] | None:
        """Return perplexity and loss, and with reasoning those of answers."""
        reasoned = ("answer_perplexity", "reasoned_perplexity", "reasoning_gain") if self.config.reasoning else ()
        return ("perplexity", "loss", *reasoned)

    def drawn(self, config: RunConfig) -> tuple[int, int]:
        """Return the reasoning, where there is any."""
        return int(self.config.reasoning), settings(self.config.sampling, config.method).max_tokens

    def start(self, context: EvaluationContext) -> None:
        """Take the run's lengths."""
        self.run = context.config
        drawn = settings(self.config.sampling, self.run.method)
        self.sampling: SamplingConfig = replace(drawn, stop=[*drawn.stop, self.config.cue])

    def protocol(self, loaded: Loaded) -> dict[str, Any]:
        """Add how the reasoning is drawn."""
        found = super().protocol(loaded)
        if not self.config.reasoning:
            return found
        return {**found, "cue": self.config.cue, **drawing(self.run, self.sampling, [], self.config.seed)}

    def repeatable(self) -> bool:
        """Return whether scores repeat, and the model's reasoning where there is any."""
        return not self.config.reasoning or draws_repeat(self.run)

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row an example: `score` is the mean log-probability of a token of the reference, in nats.

        The end-of-turn token is one of them. `completion` is the reference; `parts` holds the sum (`logp`) and the
        `tokens`, with reasoning also those of the final answer after the prompt alone (`answer_…`) and after the
        model's reasoning (`reasoned_…`).
        """
        from rlpipe.engines import scoring

        completions = [example for example in examples if isinstance(example, Completion)]
        found = scoring.likelihoods(loaded, completions, self.config.batch_tokens)
        rows: list[Row] = [
            {
                "id": example.id,
                "prompt": text_of(example.prompt),
                "completion": text_of(example.completion),
                "score": one.per_token,
                "parts": {"logp": one.logp, "tokens": one.tokens},
            }
            for example, (one,) in zip(completions, found, strict=True)
        ]
        if self.config.reasoning:
            self._add_reasoned(loaded, completions, rows)
        return rows

    def _add_reasoned(self, loaded: Loaded, completions: Sequence[Completion], rows: list[Row]) -> None:
        """Let the model reason, and score the final answers after it and after nothing."""
        from rlpipe.engines.scoring import Span, span_likelihoods
        from rlpipe.models.layout import render
        from rlpipe.models.tokens import encode

        prompts = [Prompt(example.id, example.prompt, tools=example.tools) for example in completions]
        drawn = complete(loaded, prompts, self.sampling, seed=self.config.seed)
        thoughts = [rollout.text.partition(self.config.cue)[0] for (rollout,) in drawn]
        tools, ids = [prompt.tools for prompt in prompts], [prompt.id for prompt in prompts]
        heads = render([prompt.prompt for prompt in prompts], loaded.tokenizer, True, tools, ids)
        answers = encode([f" {self._answer(example)}" for example in completions], loaded.tokenizer)
        reasoned = [f"{head}{thought}{_gap(thought)}" for head, thought in zip(heads, thoughts, strict=True)]
        contexts = encode([f"{context}{self.config.cue}" for context in [*heads, *reasoned]], loaded.tokenizer)
        spans = [Span(context + ids, len(ids)) for context, ids in zip(contexts, [*answers, *answers], strict=True)]
        found = span_likelihoods(loaded, spans, self.config.batch_tokens)
        for row, thought, alone, after in zip(rows, thoughts, found[: len(rows)], found[len(rows) :], strict=True):
            row["reasoning"] = thought
            row["parts"] |= {"answer_logp": alone.logp, "answer_tokens": alone.tokens}
            row["parts"] |= {"reasoned_logp": after.logp, "reasoned_tokens": after.tokens}

    def _answer(self, example: Completion) -> str:
        text = text_of(example.completion)
        return text.rpartition(self.config.cue)[2].strip() or text.strip()

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """`perplexity` over all tokens together, and `loss`, its logarithm.

        With reasoning also `answer_perplexity`, `reasoned_perplexity`, and `reasoning_gain`: by how many nats a token
        the model's own reasoning makes the right answer likelier.
        """
        loss = _loss(rows, "")
        numbers = {"perplexity": math.exp(loss), "loss": loss}
        if "reasoned_logp" in rows[0]["parts"]:
            alone, after = _loss(rows, "answer_"), _loss(rows, "reasoned_")
            numbers |= {"answer_perplexity": math.exp(alone), "reasoned_perplexity": math.exp(after)}
            numbers["reasoning_gain"] = alone - after
        return numbers


def _loss(rows: Sequence[Row], which: str) -> float:
    parts = [row["parts"] for row in rows]
    return -float(sum(one[f"{which}logp"] for one in parts) / sum(one[f"{which}tokens"] for one in parts))


def _gap(thought: str) -> str:
    """Return what separates a cue from what is before it."""
    return "" if not thought or thought[-1].isspace() else "\n"
