"""One sampled completion, and what it earned. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rlpipe.config.ranges import out_of_range
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Prompt
from rlpipe.environments.episode import Turn


@changing(Changes.result)
@dataclass
class SamplingConfig:
    """How completions are drawn."""

    temperature: float = setting(1.0, at_least=0, at_most=100, usual=(None, 2))
    """Logits are divided by it; 0 takes the likeliest token (greedy)."""
    top_p: float = setting(1.0, above=0, at_most=1, usual=(0.1, 1))
    """Draw from the fewest tokens that together have this probability (arXiv:1904.09751)."""
    top_k: int = setting(0, at_least=0, zero="all tokens", at_most=10**7)
    """Draw from this many likeliest tokens; 0 for all."""
    min_p: float = setting(0.0, at_least=0, below=1)
    """Draw from tokens that have at least this share of the likeliest one's probability (arXiv:2407.01082)."""
    max_tokens: int = setting(128, at_least=1, at_most=10**7, usual=(None, 2**17), timed=True)
    """Longest completion in tokens, tool results included."""
    stop: list[str] = field(default_factory=list)
    """End a completion after any of these strings."""

    @property
    def whole(self) -> bool:
        """Whether every token may be drawn: none is left out by top-k, top-p or min-p."""
        return self.top_k == 0 and self.top_p == 1 and self.min_p == 0


class Finish(Enum):
    """Why a completion ended."""

    stop = "stop"
    """An end-of-turn token or a stop string; in an environment, the end of the episode."""
    length = "length"
    """`max_tokens`, or the model's context, was reached; in an environment also `max_turns` or `turn_tokens`."""


@dataclass
class ToolCall:
    """A call that the model wrote, and what came of it."""

    name: str
    arguments: dict[str, Any]
    result: str
    """What was put into the completion: the tool's answer, or the error for the model to read."""
    failed: bool
    at: int
    """Index in `Rollout.ids` of the result's first token."""


@dataclass
class Rollout:
    """One completion of one prompt. Token lists run over the completion alone."""

    prompt: Prompt
    prompt_ids: list[int]
    ids: list[int]
    """All tokens after the prompt: what the model wrote, stop tokens included, tool results, and what an environment
    said."""
    logps: list[float]
    """Natural-log probability of each token under the policy and the sampling settings that drew it; 0 for others'."""
    written: list[bool]
    """Whether the model wrote the token; the others never enter a loss."""
    text: str
    """The completion as text, special tokens left out, what others said in it included."""
    finish: Finish
    calls: list[ToolCall] = field(default_factory=list)
    turns: list[Turn] | None = None
    """The turns that an environment answered, where the completion is an episode of one; else None."""
    scores: dict[str, Score] = field(default_factory=dict)
    """What each reward gave, by the reward's name in the config."""
    reward: float = 0.0
    """The weighted sum of `scores`: exactly what the objective uses (before any KL)."""


def sampling_problems(sampling: SamplingConfig, where: str) -> list[Problem]:
    """Return what is wrong with settings; `where` is the dotted path of the config, with its last dot."""
    wrong = [problem for problem in out_of_range(sampling, where) if problem.fatal]
    return wrong + stop_problems(sampling.stop, where)


def stop_problems(stop: Sequence[str] | None, where: str) -> list[Problem]:
    """Return what is wrong with stop strings; `where` is the dotted path of their node, with its last dot."""
    if all(stop or ()):
        return []
    what = "an empty string stands everywhere, so that every completion would end at once"
    return [Problem(f"{where}stop", what, "drop it, or give strings of at least one character")]


@dataclass
class Score:
    """What one rollout earned."""

    value: float
    parts: dict[str, float] = field(default_factory=dict)
    """Named components, logged apart from the value."""
    parsed: bool = True
    """False where no answer could be read from the text; counted apart from wrong answers."""
    reason: str = ""
    """Why, in words, where who scores gives reasons."""


def training_problems(sampling: SamplingConfig, where: str) -> list[Problem]:
    """Return what is wrong with sampling, where completions of one prompt are compared with each other.

    `where` is the dotted path of the config, with its last dot.
    """
    found = stop_problems(sampling.stop, where)
    if sampling.temperature == 0:
        what = "0 draws the same completion every time, which teaches nothing"
        found.append(Problem(f"{where}temperature", what, "it must be above 0; for example 1"))
    return found
