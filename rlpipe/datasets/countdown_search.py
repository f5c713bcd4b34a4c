"""Countdown solved by search, and the search written down: traces of a solver, not of a model.

A trace shows a few tries that miss the target, then the steps that a depth-first search over pairs of numbers found.
Steps are written as equations, which the calculator finds and works out where it is at hand.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from random import Random

MOST_STEPS = 300_000
"""Steps after which a search gives up: four numbers have less than 5,000, five less than 300,000."""
TRIES = (0, 1, 2, 3)
"""How many tries there may be before the right one."""

Number = int | Fraction
Step = tuple[int, int, str]
"""The places of two numbers, left and right of an operator; the result stands after the others."""


@dataclass(frozen=True)
class Term:
    """A number and the expression that makes it."""

    value: Number
    text: str
    operator: str = ""
    """The outermost one; empty for a number as it was given."""


def trace(nums: Sequence[int], target: int) -> str:
    """Return a thought and an answer for a puzzle, always the same. Raises ValueError for one that is not solved."""
    lines, answer = _written(nums, solve(tuple(nums), target))
    rng = Random(f"{list(nums)} {target}")
    tries = [_written(nums, _guess(rng, nums)) for _ in range(rng.choice(TRIES))]
    missed = [f"{'; '.join(steps)}: not {target}" for steps, term in tries if steps and term.value != target]
    thought = "\n".join([*missed, *(["; ".join(lines)] if lines else [])])
    return f"<think>\n{thought}\n</think>\n<answer> {answer.text} </answer>"


@functools.lru_cache(maxsize=100_000)
def solve(nums: tuple[int, ...], target: int) -> tuple[Step, ...]:
    """Return steps that make a target of all numbers. Raises ValueError where there are none, or not in time."""
    found = _search(nums, target, iter(range(MOST_STEPS)))
    if found is None:
        raise ValueError("the search finds no solution")
    return found


def _search(numbers: tuple[Number, ...], target: int, left: Iterator[int]) -> tuple[Step, ...] | None:
    if len(numbers) == 1:
        return () if numbers[0] == target else None
    for pair in combinations(range(len(numbers)), 2):
        rest = tuple(number for place, number in enumerate(numbers) if place not in pair)
        for step, value in _steps(numbers, *pair):
            if next(left, None) is None:
                raise ValueError(f"the search finds no solution within {MOST_STEPS:,} steps")
            if rest or value == target:
                found = _search((*rest, value), target, left)
                if found is not None:
                    return (step, *found)
    return None


def _steps(numbers: Sequence[Number], one: int, other: int) -> Iterator[tuple[Step, Number]]:
    """Yield what two of some numbers make: whole results before fractions, none below zero."""
    first, second = numbers[one], numbers[other]
    yield (one, other, "+"), first + second
    larger, smaller = (one, other) if first >= second else (other, one)
    yield (larger, smaller, "-"), numbers[larger] - numbers[smaller]
    yield (one, other, "*"), first * second
    for over, under in ((one, other), (other, one)):
        if numbers[under]:
            yield (over, under, "/"), _over(numbers[over], numbers[under])


def _over(over: Number, under: Number) -> Number:
    """Return a quotient, as a whole number where it is one: these are worked with much faster."""
    value = Fraction(over) / under
    return value.numerator if value.denominator == 1 else value


def _guess(rng: Random, nums: Sequence[int]) -> tuple[Step, ...]:
    """Draw steps to some whole number."""
    numbers, steps = list[Number](nums), list[Step]()
    while len(numbers) > 1:
        one, other = sorted(rng.sample(range(len(numbers)), 2))
        step, value = rng.choice([made for made in _steps(numbers, one, other) if isinstance(made[1], int)])
        numbers = [number for place, number in enumerate(numbers) if place not in (one, other)] + [value]
        steps.append(step)
    return tuple(steps)


def _written(nums: Sequence[int], steps: Sequence[Step]) -> tuple[list[str], Term]:
    """Return steps as equations of values (`19 + 35 = 54`), and the term that they end in."""
    terms = [Term(number, str(number)) for number in nums]
    lines = []
    for left, right, operator in steps:
        made = _combined(terms[left], terms[right], operator)
        lines.append(f"{_shown(terms[left])} {operator} {_shown(terms[right])} = {made.value}")
        terms = [term for place, term in enumerate(terms) if place not in (left, right)] + [made]
    return lines, terms[-1]


def _combined(left: Term, right: Term, operator: str) -> Term:
    if operator == "/":
        value: Number = _over(left.value, right.value)
    else:
        value = {"+": left.value + right.value, "-": left.value - right.value, "*": left.value * right.value}[operator]
    first = f"({left.text})" if operator in "*/" and left.operator in ("+", "-") else left.text
    closed = {"+": (), "-": ("+", "-"), "*": ("+", "-"), "/": ("+", "-", "*", "/")}[operator]
    second = f"({right.text})" if right.operator in closed else right.text
    return Term(value, f"{first} {operator} {second}", operator)


def _shown(term: Term) -> str:
    """Return a value so that it may stand in an equation."""
    return f"({term.value})" if isinstance(term.value, Fraction) else str(term.value)
