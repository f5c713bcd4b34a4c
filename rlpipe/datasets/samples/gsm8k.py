"""Sample word problems of one or two steps, with worked answers in GSM8K's notation.

The numbers are small: a toy model can learn a hundred sums by heart, and then has something to get better at.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rlpipe.datasets.base import Row
from rlpipe.datasets.samples.draw import draw
from rlpipe.datasets.samples.words import NAMES, THINGS


def rows(split: str, count: int, seed: int) -> Iterator[Row]:
    """Yield rows with the hub's columns `question` and `answer`."""
    return draw("gsm8k", split, count, seed, _row)


def _row(rng: Random) -> tuple[str, Row]:
    question, answer = rng.choice((_gain, _loss, _bags, _share, _gain_then_loss))(rng)
    return question, {"question": question, "answer": answer}


def _work(expression: str) -> tuple[int, str]:
    """Return the value of `a + b` (or -, *, /) and the calculation with GSM8K's annotation."""
    left, sign, right = expression.split()
    numbers = int(left), int(right)
    value = {
        "+": sum(numbers),
        "-": numbers[0] - numbers[1],
        "*": numbers[0] * numbers[1],
        "/": numbers[0] // numbers[1],
    }
    plain = f"{left}{sign}{right}"
    return value[sign], f"{plain}=<<{plain}={value[sign]}>>{value[sign]}"


def _cast(rng: Random) -> tuple[str, str]:
    return rng.choice(NAMES), rng.choice(THINGS)


def _gain(rng: Random) -> tuple[str, str]:
    (name, things), first, more = _cast(rng), rng.randint(2, 9), rng.randint(2, 9)
    total, work = _work(f"{first} + {more}")
    question = f"{name} has {first} {things}. {name} buys {more} more. How many {things} does {name} have?"
    return question, f"{name} has {work} {things}.\n#### {total}"


def _loss(rng: Random) -> tuple[str, str]:
    (name, things), first = _cast(rng), rng.randint(3, 12)
    lost = rng.randint(1, first - 1)
    left, work = _work(f"{first} - {lost}")
    question = f"{name} has {first} {things}. {name} gives away {lost}. How many {things} are left?"
    return question, f"{name} has {work} {things} left.\n#### {left}"


def _bags(rng: Random) -> tuple[str, str]:
    (name, things), bags, each = _cast(rng), rng.randint(2, 5), rng.randint(2, 5)
    total, work = _work(f"{bags} * {each}")
    question = f"{name} has {bags} bags with {each} {things} in each. How many {things} does {name} have?"
    return question, f"{name} has {work} {things}.\n#### {total}"


def _share(rng: Random) -> tuple[str, str]:
    (name, things), friends, each = _cast(rng), rng.randint(2, 5), rng.randint(2, 5)
    portion, work = _work(f"{friends * each} / {friends}")
    question = f"{name} shares {friends * each} {things} among {friends} friends. How many does each friend get?"
    return question, f"Each friend gets {work} {things}.\n#### {portion}"


def _gain_then_loss(rng: Random) -> tuple[str, str]:
    (name, things), first, more = _cast(rng), rng.randint(2, 6), rng.randint(2, 6)
    total, first_work = _work(f"{first} + {more}")
    lost = rng.randint(1, total - 1)
    left, second_work = _work(f"{total} - {lost}")
    question = f"{name} has {first} {things}, finds {more} more and loses {lost}. How many {things} are left?"
    return question, f"{name} has {first_work} {things}.\nThen {name} has {second_work} left.\n#### {left}"
