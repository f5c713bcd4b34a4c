"""Guessing a number: how the game is worded, and games of somebody who guesses at random."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rlpipe.datasets.base import Row
from rlpipe.datasets.samples.draw import draw

HIGHER, LOWER, RIGHT, OVER, UNREADABLE = "Higher.", "Lower.", "Right!", "No guesses left.", "Say a number."


def question(numbers: int, guesses: int) -> str:
    """Return how a game begins."""
    return f"Guess my number from 1 to {numbers} in {guesses} guesses."


def hint(guess: int, secret: int) -> str:
    """Return the answer to a wrong guess."""
    return HIGHER if secret > guess else LOWER


def rows(split: str, count: int, seed: int, numbers: int, guesses: int) -> Iterator[Row]:
    """Yield games as rows of `messages`: guesses are drawn from all numbers, whatever the hints have said."""

    def make(rng: Random) -> tuple[str, Row]:
        secret, left = rng.randint(1, numbers), guesses
        messages = [{"role": "user", "content": question(numbers, guesses)}]
        while left:
            guess, left = rng.randint(1, numbers), left - 1
            messages.append({"role": "assistant", "content": str(guess)})
            if guess == secret or not left:
                break
            messages.append({"role": "user", "content": hint(guess, secret)})
        return str(messages), {"messages": messages}

    return draw("guessing_games", split, count, seed, make)
