"""The verifier of answers that are matrices, vectors or exact numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Case, Reward
from rlpipe.rewards.countdown import last_answer
from rlpipe.rewards.matrix_reader import LENGTH, Rows, flat, read_matrix

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout

BOX = "\\boxed{"


@changing(Changes.result)
@dataclass
class MatrixRewardConfig(RewardConfig):
    """What an answer earns."""

    partial: float = setting(0.0, at_least=0, below=1, zero="nothing", usual=(0, 0.5))
    """What a wrong matrix of the right shape earns, times the share of its entries that are right."""


class MatrixReward(Reward):
    r"""1 for the right matrix, vector or number, however it is written; else a share for right entries (`partial`).

    The last `<answer>…</answer>` counts, or where there is none the last `\boxed{…}`. Comparison is exact: a decimal
    is the fraction that it says, so that 0.333 is not 1/3. A vector may be a row, a column or a flat list. The share of
    right entries is logged as the part `entries`, whatever it earns.
    """

    Config = MatrixRewardConfig
    config: MatrixRewardConfig
    verifies = True
    columns = ("answer",)
    parts = ("entries",)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score each rollout; `parsed` is False where no matrix is found. Raises ValueError for a bad answer."""
        return [self._score(one.text, one.prompt.columns["answer"]) for one in rollouts]

    def unscorable(self, columns: Mapping[str, Any]) -> str | None:
        """Say where the column 'answer' is empty or holds no matrix."""
        found = super().unscorable(columns)
        if found is None and "answer" in columns and right_matrix(columns["answer"]) is None:
            return "no matrix in column 'answer'"
        return found

    def _score(self, text: str, answer: Any) -> Score:
        wanted = right_matrix(answer)
        if wanted is None:
            raise ValueError(f"the column 'answer' holds no matrix: {str(answer)[:40]!r}")
        said = final_answer(text)
        found = None if said is None else read_matrix(said)
        if found is None:
            return Score(0.0, {"entries": 0.0}, parsed=False)
        share = right_entries(found, wanted)
        return Score(1.0 if share == 1 else self.config.partial * share, {"entries": share})

    def cases(self) -> Sequence[Case]:
        """Return answers to a matrix, a vector and a number: right, wrong and hostile."""
        matrix, vector = {"answer": "[[1/2, -1], [0, 3]]"}, {"answer": "[1/2, 3]"}

        def say(answer: str, share: float | None, columns: dict[str, Any] = matrix) -> Case:
            value = 0.0 if share is None else 1.0 if share == 1 else self.config.partial * share
            return Case(f"<think> so </think>\n<answer> {answer} </answer>", columns, value, parsed=share is not None)

        return [
            say("[[1/2, -1], [0, 3]]", 1),
            say("[[0.5, -1.0], [0, 6/2]]", 1),
            say("[1/2 -1; 0 3]", 1),
            say("1/2 -1\n0 3", 1),
            say("\\begin{pmatrix} \\frac{1}{2} & -1 \\\\ 0 & 3 \\end{pmatrix}", 1),
            say("\\frac{1}{2} \\begin{bmatrix} 1 & -2 \\\\ 0 & 6 \\end{bmatrix}", 1),
            Case("so \\boxed{\\begin{pmatrix} 1/2 & -1 \\\\ 0 & 3 \\end{pmatrix}}.", matrix, 1.0),
            Case("<answer>1</answer> no: <answer>[[1/2, -1], [0, 3]]</answer>", matrix, 1.0),
            say("(0.5, 3)", 1, vector),
            say("[[1/2], [3]]", 1, vector),
            say("-6", 1, {"answer": -6}),
            say("[[1/2, -1], [0, 2]]", 0.75),
            say("[[1/2, 0], [-1, 3]]", 0.5),
            say("[[0.499999, 1], [1, 1]]", 0),
            say("[1/2, -1, 0, 3]", 0),
            say("[1/2]", 0, vector),
            say("6", 0, {"answer": -6}),
            say("", None),
            say("[[1/2, -1], [0]]", None),
            say("[[1/0, -1], [0, 3]]", None),
            say("[[1/2, -1], [0, 1+2]]", None),
            say("__import__('os').getpid()", None),
            say("٣", None, {"answer": 3}),
            say("[" * 100_000, None),
            say("9" * 1_000_000, None),
            Case("The answer is [[1/2, -1], [0, 3]].", matrix, 0.0, parsed=False),
            Case("\\boxed{" * 1000, matrix, 0.0, parsed=False),
        ]


def right_matrix(answer: Any) -> Rows | None:
    """Return the matrix that a column holds: as a text, a number, or lists of numbers and texts."""
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | list):
        return None
    return read_matrix(str(answer).replace("'", "") if isinstance(answer, list) else str(answer))


def final_answer(text: str) -> str | None:
    r"""Return what stands in the last `<answer>…</answer>`, else in the last `\boxed{…}`, whose box goes in both."""
    answer = last_answer(text)
    box = _boxed(text if answer is None else answer)
    return answer if box is None else box


def _boxed(text: str) -> str | None:
    start = text.rfind(BOX) + len(BOX)
    if start < len(BOX):
        return None
    depth = 1
    for place, letter in enumerate(text[start : start + LENGTH], start):
        depth += (letter == "{") - (letter == "}")
        if not depth:
            return text[start:place]
    return None


def right_entries(found: Rows, wanted: Rows) -> float:
    """Return the share of entries that are right: 0 for another shape, but a vector may stand or lie."""
    vectors = all(1 in (len(rows), len(rows[0])) for rows in (found, wanted))
    mine, right = flat(found), flat(wanted)
    alike = len(mine) == len(right) and (vectors or len(found) == len(wanted))
    return math.fsum(one == other for one, other in zip(mine, right, strict=True)) / len(right) if alike else 0.0
