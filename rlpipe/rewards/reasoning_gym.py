"""The verifier of reasoning-gym's tasks: the scorer of each task, in a process of its own with a time limit."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.reasoning_gym import INSTALL
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Case, Reward
from rlpipe.rewards.countdown import last_answer
from rlpipe.rewards.guard import Guard

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout

PATIENCE = 5
"""Times the time limit after which the process is replaced."""
LENGTH = 10_000
"""Characters of an answer; none that is right is longer."""


@changing(Changes.result)
@dataclass
class ReasoningGymRewardConfig(RewardConfig):
    """How long scoring may take."""

    timeout: float = setting(2.0, Changes.nothing, above=0, at_most=86400, usual=(0.05, 120))
    """Seconds of processor time for one answer; one that takes longer counts as unreadable, and as timed out."""


class ReasoningGymReward(Reward):
    """What the task's own scorer gives the last `<answer>…</answer>`: 1 where it is right, for some tasks shares below.

    Scorers that would evaluate what the model wrote are replaced by strict ones (`reasoning_gym_worker.SAFE`). The part
    `failed` counts answers on which a scorer failed, `timed_out` those that took too long; both are worth 0.
    """

    Config = ReasoningGymRewardConfig
    config: ReasoningGymRewardConfig
    verifies = True
    scores_beside = True
    columns = ("entry",)
    parts = ("failed", "timed_out")

    def __init__(self, config: RewardConfig):
        super().__init__(config)
        self.guard = Guard("rlpipe.rewards.reasoning_gym_worker")

    def problems(self) -> list[Problem]:
        """Say when reasoning-gym is not installed."""
        if importlib.util.find_spec("reasoning_gym") is not None:
            return []
        return [Problem("name", "reasoning-gym is not installed", INSTALL)]

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score each rollout; `parsed` is False where there is no answer, or none that was scored in time."""
        return [self._score(one.text, one.prompt.columns["entry"]) for one in rollouts]

    def _score(self, text: str, entry: Mapping[str, Any]) -> Score:
        answer = last_answer(text)
        if not answer or len(answer) > LENGTH:
            return Score(0.0, {"failed": 0.0, "timed_out": 0.0}, parsed=False)
        question = {"answer": answer, "entry": dict(entry), "seconds": self.config.timeout}
        # The process keeps its own time, unless it hangs where no signal reaches it.
        found = self.guard.ask(question, PATIENCE * self.config.timeout + PATIENCE)
        if found is None or "late" in found:
            return Score(0.0, {"failed": 0.0, "timed_out": 1.0}, parsed=False)
        return Score(found["score"], {"failed": float(found["failed"]), "timed_out": 0.0}, not found["failed"])

    def cases(self) -> Sequence[Case]:
        """Return answers to a task whose scorer is rlpipe's own, so that no package is needed to state them."""
        given = {"entry": {"task": "puzzle24", "options": {}, "metadata": {"numbers": [4, 1, 8, 7]}, "answer": ""}}

        def say(answer: str, value: float) -> Case:
            return Case(f"<answer>{answer}</answer>", given, value)

        return [
            say("(8 - 4) * (7 - 1)", 1.0),
            say("8 + 7 + 4 + 1", 0.0),
            say("24", 0.0),
            say("__import__('os').getpid()", 0.0),
            Case("(8 - 4) * (7 - 1)", given, 0.0, parsed=False),
            Case("<answer></answer>", given, 0.0, parsed=False),
        ]
