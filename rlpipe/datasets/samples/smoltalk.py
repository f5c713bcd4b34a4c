"""Sample conversations: one to three turns of greetings, questions and simple orders."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rlpipe.datasets.base import Row
from rlpipe.datasets.samples.draw import draw
from rlpipe.datasets.samples.facts import casual, fact, named
from rlpipe.datasets.samples.words import NAMES, THINGS

GREETINGS = ("Hello!", "Hi!", "Good morning!", "Good evening!")


def rows(split: str, count: int, seed: int) -> Iterator[Row]:
    """Yield rows with the hub's columns `messages` and `source`."""
    return draw("smoltalk", split, count, seed, _row)


def _row(rng: Random) -> tuple[str, Row]:
    turns = [start(rng) for start in rng.choices(((_named_question,), (_greeting,), ()), (8, 1, 1))[0]]
    for _ in range(rng.choice((0, 1, 1, 2)) if turns else rng.choice((1, 2, 2, 3))):
        turns.append(rng.choice((_question, _question, _say, _count, _sentence))(rng))
    messages = []
    for user, assistant in turns:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return " ".join(user for user, _ in turns), {"messages": messages, "source": "sample"}


def _greeting(rng: Random) -> tuple[str, str]:
    name, greeting = rng.choice(NAMES), rng.choice(GREETINGS)
    return f"{greeting} I am {name}.", f"{greeting[:-1]}, {name}! How can I help you?"


def _question(rng: Random) -> tuple[str, str]:
    subject = fact(rng)
    return subject.question, subject.sentence


def _named_question(rng: Random) -> tuple[str, str]:
    subject = fact(rng)
    return named(rng, rng.choice(NAMES), subject), casual(rng, subject)


def _say(rng: Random) -> tuple[str, str]:
    word, times = rng.choice(THINGS), rng.randrange(2, 5)
    return f"Say {word} {times} times.", " ".join([word] * times)


def _count(rng: Random) -> tuple[str, str]:
    start = rng.randrange(1, 20)
    end = start + rng.randrange(2, 6)
    return f"Count from {start} to {end}.", " ".join(str(number) for number in range(start, end + 1))


def _sentence(rng: Random) -> tuple[str, str]:
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    return f"Write a sentence with {name} and {thing}.", f"{name} has many {thing}."
