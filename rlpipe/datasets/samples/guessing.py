"""Guessing a number: how the game is worded, and games of somebody who heeds hints now and then."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rlpipe.datasets.base import Row
from rlpipe.datasets.samples.draw import draw

HEEDED = 0.5
"""How often a guess heeds the hints; else it is any number."""

HIGHER, LOWER, RIGHT, OVER, UNREADABLE = "Higher.", "Lower.", "Right!", "No guesses left.", "Say a number."


def question(numbers: int, guesses: int) -> str:
    """Return how a game begins."""
    return f"Guess my number from 1 to {numbers} in {guesses} guesses."


def hint(guess: int, secret: int) -> str:
    """Return the answer to a wrong guess."""
    return HIGHER if secret > guess else LOWER


def rows(split: str, count: int, seed: int, numbers: int, guesses: int) -> Iterator[Row]:
    """Yield games as rows of `messages`: guesses are drawn from the numbers that the hints leave, or from all."""

    def make(rng: Random) -> tuple[str, Row]:
        secret, left, low, high = rng.randint(1, numbers), guesses, 1, numbers
        messages = [{"role": "user", "content": question(numbers, guesses)}]
        while left:
            heeded = rng.random() < HEEDED
            guess, left = rng.randint(low, high) if heeded else rng.randint(1, numbers), left - 1
            messages.append({"role": "assistant", "content": str(guess)})
            if guess == secret or not left:
                break
            messages.append({"role": "user", "content": hint(guess, secret)})
            low, high = (max(low, guess + 1), high) if secret > guess else (low, min(high, guess - 1))
        return str(messages), {"messages": messages}

    return draw("guessing_games", split, count, seed, make)
