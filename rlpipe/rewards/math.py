"""The verifier of mathematics in LaTeX: math-verify, in a process of its own with a time limit."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import PluginError, Problem
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Case, Reward
from rlpipe.rewards.guard import Guard

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout

PATIENCE = 5
"""Times the time limit after which the process is replaced."""
LENGTH = 20_000
"""Characters of a completion, from its end, that are looked at."""


@changing(Changes.result)
@dataclass
class MathRewardConfig(RewardConfig):
    """Where the right answer stands, and how long comparing may take."""

    column: str = "reference"
    """The dataset column that holds the right answer: a number, LaTeX, or a solution that ends in `\\\\boxed{…}`."""
    timeout: float = setting(2.0, Changes.nothing, above=0, at_most=86400, usual=(0.05, 120))
    """Seconds of processor time for one completion; one that takes longer counts as unreadable, and as timed out."""


class MathReward(Reward):
    """1 where math-verify finds the completion's last expression equal to the right answer, else 0.

    A completion that takes too long cannot be read, and is counted by the part `timed_out`: another machine may be
    faster.

    math-verify (github.com/huggingface/Math-Verify) hands text to symbolic parsers, which hostile text
    can keep busy for ever or make run out of memory: it runs in a process of its own, with limits on
    time and memory, that is replaced when it dies.
    """

    Config = MathRewardConfig
    config: MathRewardConfig
    verifies = True
    scores_beside = True
    parts = ()

    def __init__(self, config: RewardConfig):
        super().__init__(config)
        self.columns = (self.config.column,)
        self.guard = Guard("rlpipe.rewards.math_worker")
        self.hopeless: set[tuple[str, str]] = set()
        """Answers that took too long or too much."""

    def problems(self) -> list[Problem]:
        """Say when math-verify is not installed."""
        if importlib.util.find_spec("math_verify") is not None:
            return []
        return [Problem("name", "math-verify is not installed", "pip install 'rlpipe[math]'")]

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score each rollout; `parsed` is False where no mathematics was found in time.

        Raises PluginError when math-verify is not installed, ValueError for a right answer that it cannot read.
        """
        if importlib.util.find_spec("math_verify") is None:
            raise PluginError(
                f"reward.{self.config.name}", "math-verify is not installed", "pip install 'rlpipe[math]'"
            )
        return [self._score(one.text, str(one.prompt.columns[self.config.column])) for one in rollouts]

    def _score(self, text: str, reference: str) -> Score:
        key = (reference, text[-LENGTH:])
        question = {"reference": reference, "text": key[1], "seconds": self.config.timeout}
        # The process keeps its own time, unless it hangs where no signal reaches it.
        answer = None if key in self.hopeless else self.guard.ask(question, PATIENCE * self.config.timeout)
        if answer is None or "late" in answer:
            self.hopeless.add(key)  # nor is it worth the time again
            return Score(0.0, {"timed_out": 1.0}, parsed=False)
        if not answer["reference"]:
            raise ValueError(f"math-verify cannot read the right answer {reference[:80]!r}")
        return Score(float(answer["equal"]), {"timed_out": 0.0}, parsed=answer["parsed"])

    def cases(self) -> Sequence[Case]:
        """Return answers in several notations, wrong ones, and hostile ones."""

        def case(text: str, reference: str, value: float, parsed: bool = True) -> Case:
            return Case(text, {self.config.column: reference}, value, parsed)

        return [
            case("so it is $\\frac{1}{2}$", "0.5", 1.0),
            case("\\boxed{\\frac{2}{4}}", "\\frac{1}{2}", 1.0),
            case("we get \\boxed{(x+1)^2}", "x^2+2x+1", 1.0),
            case("The answer is 1,000.", "thus \\boxed{1000}", 1.0),
            case("\\boxed{\\frac{1}{3}}", "\\frac{1}{2}", 0.0),
            case("\\boxed{x = 72}", "72", 1.0),
            case("\\boxed{70 + 2 = 72}", "72", 1.0),
            case("\\boxed{71 = 72}", "72", 0.0, parsed=False),
            case("\\boxed{1 = 2 = 72}", "72", 0.0, parsed=False),
            case("\\boxed{x = 71 = 72}", "72", 0.0, parsed=False),
            case("\\boxed{71 \\equiv 72}", "72", 0.0, parsed=False),
            case("\\boxed{[72, 72]}", "72", 0.0),
            case("\\boxed{72; 72}", "72", 0.0),
            case("\\boxed{9^{9^{9^9}}}", "72", 0.0, parsed=False),
            case("I do not know", "72", 0.0, parsed=False),
            case("", "72", 0.0, parsed=False),
            case("__import__('os').getpid()", "72", 0.0, parsed=False),
        ]
