"""`gem`: the environments of GEM (arXiv:2510.01051)."""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rlpipe.config.kinds import EnvironmentConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem, guess
from rlpipe.core.randomness import Randomness
from rlpipe.datasets.forms import Message
from rlpipe.environments.base import Environment, Step

INSTALL = "pip install 'rlpipe[gem]'"


@changing(Changes.result)
@dataclass
class GemConfig(EnvironmentConfig):
    """Which environment."""

    id: str = setting("", timed=True)
    """GEM's name of it: `game:GuessTheNumber-v0-easy`, `game:Wordle-v0-hard` …"""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the environment, by GEM's own names (`+environment.options.NAME=VALUE`)."""


class Gem(Environment):
    """An environment of GEM (`rlpipe[gem]`), made by its name."""

    Config = GemConfig
    config: GemConfig

    def problems(self) -> list[Problem]:
        """Say that the package is not installed, or that it has no environment of this name."""
        if importlib.util.find_spec("gem") is None:
            return [Problem("name", "gem-llm is not installed", INSTALL)]
        if self.config.id not in (known := _known()):
            return [Problem("id", f"GEM has no environment '{self.config.id}'", guess(self.config.id, known))]
        return []

    def reset(self, row: Mapping[str, Any], seed: int) -> Sequence[Message]:
        """Make the environment and return its instructions."""
        self.random = Randomness(seed)
        with self.random:
            _known()
            import gem

            self.env = gem.make(self.config.id, **self.config.options)
            said, info = self.env.reset(seed=seed)
        return self._say(said, info)

    def step(self, text: str) -> Step:
        """Act; the numbers are those that stand in GEM's `info`."""
        with self.random:
            said, reward, terminated, truncated, info = self.env.step(text)
        numbers = {name: float(value) for name, value in info.items() if _is_number(value)}
        return Step(self._say(said, info), float(reward), bool(terminated or truncated), numbers)

    def _say(self, said: Any, info: Mapping[str, Any]) -> list[Message]:
        """Return what is observed with what GEM would have put around it (`prefix`, `suffix`)."""
        parts = [str(part) for part in (info.get("prefix"), said, info.get("suffix")) if part]
        return [{"role": "user", "content": "\n".join(parts)}]


def _known() -> Collection[str]:
    """Return the names of all environments; the first call imports GEM, and leaves the logs as they were."""
    with _logging_kept():
        from gem.envs.registration import ENV_REGISTRY
    names: Collection[str] = ENV_REGISTRY
    return names


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Keep the root logger from what importing GEM does to it: all libraries' lines would be shown."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.addHandler(logging.NullHandler())  # one that has handlers is left alone
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
