"""`textarena`: the games for one player of TextArena (arXiv:2504.11442)."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlpipe.config.kinds import EnvironmentConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import PluginError, Problem, guess
from rlpipe.core.randomness import Randomness
from rlpipe.datasets.forms import Message
from rlpipe.environments.base import Environment, Step

INSTALL = "pip install 'rlpipe[textarena]'"
RAW = "-raw"
"""What TextArena calls a game whose observations are only what is new; the others repeat the whole history."""


@changing(Changes.result)
@dataclass
class TextArenaConfig(EnvironmentConfig):
    """Which game."""

    id: str = setting("", timed=True)
    """TextArena's name of a game for one player: `GuessTheNumber-v0`, `Wordle-v0`, `Sudoku-v0-easy` …"""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the game, by TextArena's own names (`+environment.options.NAME=VALUE`)."""


class TextArena(Environment):
    """A game for one player of TextArena (`rlpipe[textarena]`). Its reward is given at the end of the game."""

    Config = TextArenaConfig
    config: TextArenaConfig

    def problems(self) -> list[Problem]:
        """Say that the package is not installed, or that it has no game of this name."""
        if importlib.util.find_spec("textarena") is None:
            return [Problem("name", "TextArena is not installed", INSTALL)]
        if self.config.id not in (known := _known()):
            return [Problem("id", f"TextArena has no game '{self.config.id}'", guess(self.config.id, known))]
        return []

    def reset(self, row: Mapping[str, Any], seed: int) -> Sequence[Message]:
        """Begin the game. Raises PluginError for a game of several players."""
        import textarena

        self.random = Randomness(seed)
        with self.random:
            self.game = textarena.make(self.config.id + RAW, **self.config.options)
            try:
                self.game.reset(num_players=1, seed=seed)
            except AssertionError as error:
                what = f"{self.config.id} is not played by one player: {error}"
                raise PluginError("environment.id", what, "choose a game for one player") from error
            return self._news()

    def step(self, text: str) -> Step:
        """Make a move; a move that is not allowed is said, and may be made again as often as the game lets it."""
        with self.random:
            done, _ = self.game.step(text)
            if not done:
                return Step(self._news(), 0.0, False, {})
            rewards, info = self.game.close()
        said = [{"role": "user", "content": str(info[0].get("reason") or "The game is over.")}]
        return Step(said, float(rewards[0]), True, {"invalid_move": float(bool(info[0].get("invalid_move")))})

    def _news(self) -> list[Message]:
        """Return what the player has not read yet, but for its own moves."""
        player, observed = self.game.get_observation()
        said = [text for sender, text, *_ in observed if sender != player]
        return [{"role": "user", "content": "\n".join(said) or "Go on."}]


def _known() -> Collection[str]:
    """Return the names of all games that are there without the history in each observation."""
    import textarena  # noqa: F401  its import registers them
    from textarena.envs.registration import ENV_REGISTRY

    return {name for name in ENV_REGISTRY if name + RAW in ENV_REGISTRY}
