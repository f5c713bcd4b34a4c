"""Games of guessing a number by a player who heeds the hints now and then: before learning to win (toy scale)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Chat
from rlpipe.datasets.messages import as_messages
from rlpipe.datasets.samples import guessing as samples


@changing(Changes.result)
@dataclass
class GuessingGamesConfig(DatasetConfig):
    """Which games."""

    source: str = setting("sample", Changes.indirect, timed=True)
    """`sample`: games are made here; or a local folder or file of games."""
    sample_size: int = 600
    """How many games the generator makes for training (an eighth as many for testing)."""
    numbers: int = setting(7, at_least=2, at_most=10**6)
    """The number is one from 1 to this one."""
    guesses: int = setting(3, at_least=1, at_most=1000)
    """Guesses of a game."""


class GuessingGames(Dataset):
    """Whole games from the column `messages`, worded as `environment=guessing` words them."""

    Config = GuessingGamesConfig
    config: GuessingGamesConfig
    form = Chat
    columns = ("messages",)
    fixed = True
    made = True

    def example(self, row: Row, id: str) -> Chat:
        """Take the game as it is."""
        return Chat(id, as_messages(row["messages"], "user"))

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield different games, guessed with some care."""
        return samples.rows(split, count, seed, self.config.numbers, self.config.guesses)
