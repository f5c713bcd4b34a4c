"""`guessing`: a number is to be guessed, and each wrong guess is told whether it was too low or too high."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from rlpipe.config.kinds import EnvironmentConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Message
from rlpipe.datasets.samples.guessing import OVER, RIGHT, UNREADABLE, hint, question
from rlpipe.environments.base import Environment, Step

GUESS = re.compile(r"\s*(\d{1,9})\s*\.?\s*", re.ASCII)
"""A turn that is a guess: a number alone."""


@changing(Changes.result)
@dataclass
class GuessingConfig(EnvironmentConfig):
    """How hard the game is."""

    numbers: int = setting(7, at_least=2, at_most=10**6, timed=True)
    """The number is one from 1 to this one."""
    guesses: int = setting(3, at_least=1, at_most=1000, timed=True)
    """Guesses of a game. With 3, who halves what is left always finds one of 7 numbers."""


class Guessing(Environment):
    """Guess a number; hints say higher or lower. 1 for the right number, 0 for none in the guesses that there are."""

    Config = GuessingConfig
    config: GuessingConfig

    def problems(self) -> list[Problem]:
        """Say where a game cannot be played to its end."""
        if self.config.guesses <= self.config.max_turns:
            return []
        what = f"{self.config.guesses} guesses are more turns than max_turns={self.config.max_turns} allows"
        return [Problem("guesses", what, f"raise environment.max_turns to {self.config.guesses}")]

    def reset(self, row: Mapping[str, Any], seed: int) -> Sequence[Message]:
        """Draw a number."""
        self.secret, self.left = Random(seed).randint(1, self.config.numbers), self.config.guesses
        return self._say(question(self.config.numbers, self.config.guesses))

    def step(self, text: str) -> Step:
        """Take a guess; what is no number counts as one too."""
        self.left -= 1
        found = GUESS.fullmatch(text)
        guess = int(found[1]) if found is not None else None
        won = guess == self.secret
        if won:
            answer = RIGHT
        elif not self.left:
            answer = OVER
        else:
            answer = UNREADABLE if guess is None else hint(guess, self.secret)
        numbers = {"won": float(won), "guesses": float(self.config.guesses - self.left)}
        return Step(self._say(answer), float(won), won or not self.left, numbers)

    def _say(self, text: str) -> list[Message]:
        return [{"role": "user", "content": text}]
