"""The verifier of Countdown, and how an `<answer>` is found in a completion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Case, Reward
from rlpipe.tools.arithmetic import Undefined, calculate

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout

BASIC = {"+", "-", "*", "/"}
"""The operators that the puzzle allows."""


@changing(Changes.result)
@dataclass
class CountdownRewardConfig(RewardConfig):
    """What an answer earns."""

    format_score: float = setting(0.1, below=1, at_least=-1000, usual=(0, 0.5))
    """For an answer that is arithmetic, but wrong."""


class CountdownReward(Reward):
    """1 for an equation that uses each given number exactly once and makes the target, 0.1 for another one, else 0.

    The last `<answer>…</answer>` counts. Scores are those of TinyZero
    (github.com/Jiayi-Pan/TinyZero, verl/utils/reward_score/countdown.py), stricter in three ways, each
    of which closes a hole: an answer earns the format's share only if it can be read as arithmetic (there:
    anything between the tags); only + - * / count (there `2**3` and `7//2` pass, too); and numbers are
    compared as numbers (there `1.5` uses up a 1 and a 5). As there, an equation with its right-hand
    side (`1 + 2 = 3`) is no right answer: it earns the format's share. Arithmetic is exact.
    """

    Config = CountdownRewardConfig
    config: CountdownRewardConfig
    verifies = True
    repeats = True
    columns = ("nums", "target")
    parts = ()

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score each rollout; `parsed` is False where no arithmetic stands in answer tags."""
        return [self._score(one.text, one.prompt.columns) for one in rollouts]

    def _score(self, text: str, columns: dict[str, Any]) -> Score:
        answer = last_answer(text)
        if answer is None:
            return Score(0.0, parsed=False)
        try:
            sides = [calculate(side) for side in answer.split("=", 2)]
        except Undefined:
            return Score(self.config.format_score)
        except ValueError:
            return Score(0.0, parsed=False)
        found = sides[0]
        right = (
            len(sides) == 1
            and found.value == columns["target"]
            and found.operators <= BASIC
            and Counter(found.numbers) == Counter(map(Fraction, columns["nums"]))
        )
        return Score(1.0 if right else self.config.format_score)

    def cases(self) -> Sequence[Case]:
        """Return answers to one puzzle: 44, 19, 35 make 98."""
        given = {"nums": [44, 19, 35], "target": 98}
        share = self.config.format_score

        def say(answer: str, value: float, parsed: bool = True) -> Case:
            return Case(f"<think> 19 + 35 = 54 </think>\n<answer> {answer} </answer>", given, value, parsed)

        return [
            say("44 + (19 + 35)", 1.0),
            say("(35+19)\n+44", 1.0),
            Case("<answer>1</answer> no: <answer>44 + 19 + 35</answer>", given, 1.0),
            say("44 + 19 - 35", share),
            say("44 + 54", share),
            say("98", share),
            say("44 + 19 + 35 + 44 - 44", share),
            say("44 + 19 + 35 = 98", share),
            say("44 + 19 * 35 / 0", share),
            Case("<answer>44 + 19 + 35</answer> or <answer>98</answer>", given, share),
            Case("The answer is 44 + 19 + 35", given, 0.0, parsed=False),
            Case("<answer>44 + 19 + 35", given, 0.0, parsed=False),
            say("", 0.0, parsed=False),
            say("44 + 19 + 35 and nothing else", 0.0, parsed=False),
            say("__import__('os').getpid()", 0.0, parsed=False),
            say("9**9**9", 0.0, parsed=False),
            say("٤٤ + ١٩ + ٣٥", 0.0, parsed=False),
            say("44 + 19\x00 + 35", 0.0, parsed=False),
            say("(" * 250 + "98" + ")" * 250, 0.0, parsed=False),
            say("4" * 1_000_000, 0.0, parsed=False),
            say("<answer>44 + 19 + 35", 1.0),
            Case("<answer>" * 1000 + "44 + 19 + 35", given, 0.0, parsed=False),
        ]


def last_answer(text: str, tag: str = "answer") -> str | None:
    """Return what stands in the last `<tag>…</tag>`, without white space around it; None where there is none."""
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, max(end, 0))
    if start < 0:
        return None
    return text[start + len(tag) + 2 : end].strip()
