"""The verifier of GSM8K and of other tasks whose answer is a number, strict or flexible about where it stands."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Case, Reward

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout

MARK = "####"
WINDOW = 4000
"""How far from its end (flexible), and from the mark (strict), a completion is searched for a number."""
DIGITS = 40
"""A longer number is none that these tasks ask for."""

_BEGIN = r"(?:(?<![0-9A-Za-z_.])\.|(?<![0-9A-Za-z_]))[0-9]"
_RUN = rf"(?P<run>{_BEGIN}(?:[0-9.,_]|[A-Za-z]{{1,9}}(?=[0-9]))*)"
_WORTH = rf"(?:\\?\$(?P<inner>[-−]?))?{_RUN}"
NUMBER = re.compile(rf"(?:(?<![0-9A-Za-z.)])(?P<sign>[-−+]))?{_WORTH}")
"""What begins like a number, with all that is written to it: `-1,234.5`, `$5`, `-$5`, `$-5`, `.5`, and also `0x72`,
`1e72`, `5,72` and `1,00072`, which are then no numbers. ASCII digits, a typographic minus."""
AFTER_MARK = re.compile(rf"\s{{0,8}}(?P<sign>[-−+])?{_WORTH}")
WELL_FORMED = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+")
"""Thousands separators where they belong, one decimal point."""


class Extraction(Enum):
    """Which number of a completion is its answer."""

    strict = "strict"
    """The one after the last `####`, as in the dataset's own answers."""
    flexible = "flexible"
    """The last one."""


@changing(Changes.result)
@dataclass
class Gsm8kRewardConfig(RewardConfig):
    """How the answer is found."""

    mode: Extraction = Extraction.strict


class Gsm8kReward(Reward):
    """1 where the completion's number equals the answer's, else 0.

    Both ways of reading are logged as parts, whichever counts: rankings of models change between them
    (EleutherAI/lm-evaluation-harness, task gsm8k: `strict-match` and `flexible-extract`). Numbers are
    compared by value: `$1,000.00` is 1000. The last `####` counts, and no limit is set on what follows
    the number.
    """

    Config = Gsm8kRewardConfig
    config: Gsm8kRewardConfig
    verifies = True
    repeats = True
    columns = ("answer",)
    parts = tuple(one.value for one in Extraction)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score each rollout; `parsed` is False where the mode finds no number. Raises ValueError for a bad answer."""
        return [self._score(one.text, one.prompt.columns["answer"]) for one in rollouts]

    def unscorable(self, columns: Mapping[str, Any]) -> str | None:
        """Say where the column 'answer' is empty, or holds no number or several."""
        found = super().unscorable(columns)
        if found is None and "answer" in columns and right_answer(columns["answer"]) is None:
            return "no single number in column 'answer'"
        return found

    def _score(self, text: str, answer: Any) -> Score:
        wanted = right_answer(answer)
        if wanted is None:
            raise ValueError(f"the column 'answer' holds no single number: {str(answer)[:40]!r}")
        found = {Extraction.strict: strict(text), Extraction.flexible: flexible(text)}
        parts = {mode.value: float(number == wanted) for mode, number in found.items()}
        return Score(parts[self.config.mode.value], parts, parsed=found[self.config.mode] is not None)

    def cases(self) -> Sequence[Case]:
        """Return worked answers, good, wrong and hostile, as the mode must see them."""
        is_strict = self.config.mode is Extraction.strict

        def case(text: str, answer: str, strict_value: float | None, flexible_value: float | None) -> Case:
            value = strict_value if is_strict else flexible_value
            return Case(text, {"answer": answer}, value or 0.0, parsed=value is not None)

        return [
            case("48/2 = <<48/2=24>>24\n48+24 = <<48+24=72>>72\n#### 72", "72", 1, 1),
            case("#### $1,234.50", "1234.5", 1, 1),
            case("#### -5", "-5", 1, 1),
            case("#### 10.00 dollars.", "10", 1, 1),
            case("#### 10\n" + "So that is it. " * 60, "10", 1, 1),
            case("#### 9\nNo wait.\n#### 10", "10", 1, 1),
            case("The answer is 72.", "72", None, 1),
            case("so 70 + 2 = \\boxed{72}", "72", None, 1),
            case("#### 71", "72", 0, 0),
            case("#### 72\nI checked it 3 times", "72", 1, 0),
            case("#### 5", "-5", 0, 0),
            case("#### 7200", "72", 0, 0),
            case("#### seventy-two", "72", None, None),
            case("", "72", None, None),
            case("#### ٧٢", "72", None, None),
            case("#### \x0072", "72", None, 1),
            case("#### __import__('os')", "72", None, None),
            case("#### " + "7" * 1_000_000, "72", None, None),
            case("#### 5,72", "72", None, None),
            case("#### 1,00072", "72", None, None),
            case("#### 0x72 or 1e72", "72", None, None),
            case("an area of 72 m2", "72", None, 1),
        ]


def right_answer(answer: Any) -> Fraction | None:
    """Return the number that a column holds: as a number, behind the last `####`, or alone in a text with its unit."""
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int | float):
        return Fraction(str(answer)) if math.isfinite(answer) else None
    if not isinstance(answer, str):
        return None
    if MARK in answer:
        return strict(answer)
    found = list(NUMBER.finditer(answer[:WINDOW]))
    return _value(found[0]) if len(found) == 1 else None


def strict(text: str) -> Fraction | None:
    """Return the number right after the last `####`, or None."""
    place = text.rfind(MARK)
    if place < 0:
        return None
    start = place + len(MARK)
    return _value(AFTER_MARK.match(text[start : start + WINDOW]))


def flexible(text: str) -> Fraction | None:
    """Return the last number of a text, or None; text before its last `WINDOW` characters is not looked at."""
    found = list(NUMBER.finditer(text[-WINDOW:]))
    return _value(found[-1]) if found else None


def _value(found: re.Match[str] | None) -> Fraction | None:
    if found is None:
        return None
    written = found["run"].rstrip(".,")
    if len(written) > DIGITS or WELL_FORMED.fullmatch(written) is None:
        return None
    number = Fraction(written.replace(",", ""))
    minuses = sum(sign in ("-", "−") for sign in (found["sign"], found["inner"]))
    return -number if minuses == 1 else number
