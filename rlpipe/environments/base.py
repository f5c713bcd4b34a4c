"""What an environment is: it begins an episode from a row, and answers each turn of the model.

To add one: subclass `Environment`, put its settings into a `Config`, and write `reset` and `step`. Each completion
plays an episode of its own with an object of its own, so what is happening can be kept in attributes. How turns become
tokens, how many there may be, and that all completions of a prompt begin alike is seen to elsewhere (`episode`,
`engines`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from rlpipe.config.kinds import EnvironmentConfig
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Message


class Step(NamedTuple):
    """What an environment answers to a turn."""

    messages: Sequence[Message]
    """What the model reads next; where the episode is done it reads nothing more, and they are only recorded."""
    reward: float
    """What the turn earned. The reward `environment` adds up what all turns earned."""
    done: bool
    """Whether the episode is over."""
    numbers: Mapping[str, float]
    """What else is worth logging, as it is by now: of each number the last one given stands for the episode."""


class Environment(ABC):
    """One environment, which plays one episode."""

    Config: ClassVar[type[EnvironmentConfig]] = EnvironmentConfig
    config: EnvironmentConfig
    columns: tuple[str, ...] = ()
    """The dataset columns that `reset` reads from its row."""

    def __init__(self, config: EnvironmentConfig):
        self.config = config

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings, each at its field's name. Cheap: imports nothing heavy."""
        return []

    @abstractmethod
    def reset(self, row: Mapping[str, Any], seed: int) -> Sequence[Message]:
        """Begin the episode of a row; return what the model reads after the row's own prompt.

        `row` holds the columns of the dataset's prompt. All that is random follows from `seed`, in 0 … 2³¹ - 1: the
        same row and seed are the same episode, whatever else is being played in the process.
        """

    @abstractmethod
    def step(self, text: str) -> Step | tuple[Sequence[Message], float, bool, Mapping[str, float]]:
        """Answer a turn of the model: messages, reward, whether the episode is done, and numbers to log.

        `text` is what the model wrote, whatever that is. An error that it raises stops the run.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of what the episode holds; called once, however it ended."""
