"""Which of two completions is better: a judge is asked in both orders, and what it owes to the order is counted.

A judge that is shown two answers may favour the place of one (arXiv:2305.17926, arXiv:2306.05685). Asked in both
orders, only an answer that wins in both has won; where the orders disagree, it is a tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rlpipe.datasets.forms import Prompt

FEWEST = 5
"""Comparisons that it takes to call a judge one that goes by the place alone: by chance a coin says so in 1 of 512."""
DOUBT = 0.01
"""A preference for one place is told as one when chance alone gives it less often than this."""


class Choice(Enum):
    """Which of two answers is better."""

    first = "first"
    second = "second"
    tie = "tie"


@dataclass(frozen=True)
class Pair:
    """Two completions of one prompt, in the order in which a judge sees them."""

    prompt: Prompt
    first: str
    second: str

    def swapped(self) -> Pair:
        """Return the pair in the other order."""
        return Pair(self.prompt, self.second, self.first)


class Comparer(Protocol):
    """What can be asked which of two completions is better, such as a reward whose `compares` is true."""

    def prefer(self, pairs: Sequence[Pair]) -> list[Choice | None]:
        """Say which of each pair is better, in the order shown; None where no usable answer is to be had."""


@dataclass(frozen=True)
class Verdict:
    """What a judge said of a pair: as it stands, and in the other order. None stands for no usable answer."""

    forward: Choice | None
    """The answer about (first, second)."""
    backward: Choice | None
    """The answer about (second, first): its `first` means the pair's second."""

    @property
    def readable(self) -> bool:
        """Whether both orders got an answer."""
        return self.forward is not None and self.backward is not None

    @property
    def winner(self) -> Choice:
        """The completion that is better in both orders; `tie` where they disagree, or one has no answer."""
        for won, lost in ((Choice.first, Choice.second), (Choice.second, Choice.first)):
            if self.forward is won and self.backward is lost:
                return won
        return Choice.tie


def compare(judge: Comparer, pairs: Sequence[Pair]) -> list[Verdict]:
    """Ask a judge about every pair in both orders; all questions go out together.

    Equal completions are a tie without a question: an answer about them could only tell of the judge's bias.
    """
    differing = [pair for pair in pairs if pair.first != pair.second]
    answers = judge.prefer([*differing, *(pair.swapped() for pair in differing)]) if differing else []
    verdicts = iter([Verdict(*both) for both in zip(answers[: len(differing)], answers[len(differing) :], strict=True)])
    return [next(verdicts) if pair.first != pair.second else Verdict(Choice.tie, Choice.tie) for pair in pairs]


@dataclass(frozen=True)
class PositionBias:
    """How much a judge went by the place of an answer, over some comparisons."""

    comparisons: int
    """Pairs with an answer in both orders."""
    unreadable: int
    """Pairs without."""
    first: int
    """Answers that named the completion shown first, over both orders."""
    second: int
    """Answers that named the one shown second."""
    both_first: int
    """Comparisons in which the first place won in both orders."""
    both_second: int
    """Comparisons in which the second place won in both orders."""
    agreeing: int
    """Comparisons whose orders agree: on a completion, or on a tie."""

    @property
    def first_rate(self) -> float | None:
        """Share of the answers naming a completion that named the one shown first; 0.5 for a judge without bias."""
        named = self.first + self.second
        return self.first / named if named else None

    @property
    def consistency(self) -> float | None:
        """Share of the comparisons whose orders agree."""
        return self.agreeing / self.comparisons if self.comparisons else None

    @property
    def p_value(self) -> float:
        """Two-sided sign test: how often no bias would favour one place so much, where a judge's orders disagree."""
        trials, more = self.both_first + self.both_second, max(self.both_first, self.both_second)
        tail = sum(math.comb(trials, wins) for wins in range(more, trials + 1)) / 2**trials
        return min(1.0, 2 * tail)

    @property
    def always(self) -> Choice | None:
        """The place that the judge names whatever stands there; None for a judge that looks at the answers."""
        if self.comparisons < FEWEST:
            return None
        if self.both_first == self.comparisons:
            return Choice.first
        return Choice.second if self.both_second == self.comparisons else None

    def numbers(self) -> dict[str, float]:
        """Return what a record keeps; a rate without a single answer is left out."""
        rates = {"first_answer_rate": self.first_rate, "order_consistency": self.consistency}
        counts = {"comparisons": self.comparisons, "unreadable": self.unreadable, "position_bias_p": self.p_value}
        return {**counts, **{name: rate for name, rate in rates.items() if rate is not None}}

    def note(self) -> str | None:
        """Return in a sentence what a reader of the results must know; None where there is nothing to say."""
        if self.always is not None:
            place, questions = self.always.value, 2 * self.comparisons
            return (
                f"the judge named the {place} answer in all {questions} questions, whichever stood there: it does not "
                "look at the answers, and every comparison is a tie"
            )
        if self.first_rate is None or self.p_value >= DOUBT:
            return None
        named, lost = self.first + self.second, self.both_first + self.both_second
        return (
            f"the judge favours one place: it named the first answer in {self.first_rate:.0%} of {named} answers (50 % "
            f"without bias); both orders were asked, so that {lost} of {self.comparisons} comparisons are ties"
        )


def position_bias(verdicts: Sequence[Verdict]) -> PositionBias:
    """Count what verdicts owe to the order in which completions were shown."""
    whole = [one for one in verdicts if one.readable]
    answers = [answer for one in whole for answer in (one.forward, one.backward)]
    both = [one.forward for one in whole if one.forward is one.backward]
    return PositionBias(
        comparisons=len(whole),
        unreadable=len(verdicts) - len(whole),
        first=answers.count(Choice.first),
        second=answers.count(Choice.second),
        both_first=both.count(Choice.first),
        both_second=both.count(Choice.second),
        agreeing=sum(one.winner is not Choice.tie for one in whole) + both.count(Choice.tie),
    )
