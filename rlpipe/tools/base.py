"""What a tool is: a typed callable whose docstring the model reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from rlpipe.config.kinds import ToolConfig


@dataclass(frozen=True)
class ByHand:
    """A place in a worked solution where something is done by hand that a tool can do."""

    start: int
    end: int
    """What stands between is not needed when the tool is called there."""
    arguments: dict[str, Any] | None
    """The call that gives the very result of the solution; None where there is none."""


class Tool(ABC):
    """One tool. Plain Python errors of `call` become error results that the model can read."""

    Config: ClassVar[type[ToolConfig]] = ToolConfig

    def __init__(self, config: ToolConfig):
        self.config = config

    @property
    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """The tool as chat templates take it: a JSON schema of name, description and parameters.

        In plain text a call has one argument, which goes to the first parameter.
        """

    @property
    def tag(self) -> str:
        """What a call in plain text stands between."""
        return self.name

    @property
    def name(self) -> str:
        """The name by which the model calls it."""
        return str(self.schema["function"]["name"])

    def by_hand(self, text: str) -> Iterator[ByHand]:
        """Find, in order, what a worked solution does by hand: examples to train on make calls of it."""
        return iter(())

    @abstractmethod
    def call(self, arguments: dict[str, Any]) -> str:
        """Run the tool. Raise ValueError with words that help the model to call it better."""
