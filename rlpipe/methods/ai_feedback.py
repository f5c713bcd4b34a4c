"""AI feedback: pairs made by a model's own responses and a judge, to train on as on people's (arXiv:2309.00267)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING

from rlpipe.config.kinds import MethodConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import SamplingConfig, training_problems
from rlpipe.methods.base import Method
from rlpipe.methods.judging import judge_problems

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


class Mode(Enum):
    """How pairs come about."""

    best_of_n = "best_of_n"
    """Every response is scored by itself; the best of a prompt is set against the worst (arXiv:2405.14734)."""
    rubric = "rubric"
    """Every response is scored by itself; of the first two, of the next two … the higher score is chosen."""
    pairwise = "pairwise"
    """A judge compares the first two, the next two …, each pair in both orders; where those disagree, it is a tie."""


class Cut(Enum):
    """What to do with responses that ended because they reached `sampling.max_tokens`."""

    drop = "drop"
    """They take part in no pair: their sudden end would be learnt as an end."""
    keep = "keep"


INERT = (
    "epochs",
    "max_steps",
    "batch_size",
    "schedule",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "freeze",
    "layer_decay",
    "extra",
)
"""Settings of training, which there is none of."""


@changing(Changes.result, learning_rate=Changes.nothing, **dict.fromkeys(INERT, Changes.nothing))
@dataclass
class AIFeedbackConfig(MethodConfig):
    """How responses are drawn, judged and paired."""

    mode: Mode = Mode.best_of_n
    samples: int = setting(5, at_least=2, at_most=1024, usual=(None, 64))
    """Responses of each prompt (5 in SimPO's on-policy data, arXiv:2405.14734)."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(temperature=0.8, max_tokens=256))
    """How responses are drawn; the temperature is that of the same data."""
    margin: float = setting(0.0, at_least=0)
    """Scores that differ by no more than this are a tie; ties are dropped and counted."""
    cut: Cut = Cut.drop
    chunk: int = setting(32, Changes.run, at_least=1, at_most=10**6)
    """Prompts between two savings: what an interruption costs at most."""


class AIFeedback(Method):
    """Draws responses of the model to the dataset's prompts, has them judged by `reward=…`, and keeps pairs.

    Nothing is trained: the run leaves `data/train.jsonl` and `data/test.jsonl` in UltraFeedback's columns, which
    `dataset=ai_feedback` reads.
    """

    Config = AIFeedbackConfig
    config: AIFeedbackConfig
    takes = (Prompt,)
    makes = "data"
    draws = True
    generator = "rlpipe.training.feedback.generator"
    takes_reward = True

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        return list(_problems(self.config, config))


def _problems(settings: AIFeedbackConfig, config: RunConfig) -> Iterator[Problem]:
    """Yield what is wrong with the settings taken together."""
    yield from _numbers(settings)
    defaults = {one.name: one for one in fields(AIFeedbackConfig)}
    for name in INERT:
        value, default = getattr(settings, name), defaults[name]
        if value != (default.default_factory() if callable(default.default_factory) else default.default):
            what = f"{settings.name} trains nothing and would ignore it"
            yield Problem(f"method.{name}", what, "drop it here; give it to the method that trains on the pairs")
    if settings.mode is Mode.pairwise:
        yield from judge_problems(config, "pairwise", "method.mode=rubric or best_of_n")


def _numbers(settings: AIFeedbackConfig) -> Iterator[Problem]:
    yield from training_problems(settings.sampling, "method.sampling.")
    if settings.samples % 2 and settings.mode is not Mode.best_of_n:
        what = f"{settings.mode.value} takes responses two by two, and {settings.samples} leaves one over"
        yield Problem("method.samples", what, f"set {settings.samples - 1} or {settings.samples + 1}")
    if settings.margin > 0 and settings.mode is Mode.pairwise:
        yield Problem("method.margin", "pairwise has no scores to differ", "drop it, or choose another method.mode")
    if settings.sampling.max_tokens >= settings.max_length:
        what = f"responses of {settings.sampling.max_tokens} tokens leave no room for a prompt in {settings.max_length}"
        yield Problem("method.sampling.max_tokens", what, "lower it, or raise method.max_length")
