"""Numbered episodes: prompts for an environment that needs nothing of a row but its seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Example, Prompt
from rlpipe.datasets.samples.draw import side


@changing(Changes.result)
@dataclass
class EpisodesConfig(DatasetConfig):
    """How many episodes, and what is said before they begin."""

    source: str = setting("sample", Changes.indirect, timed=True)
    """`sample`: episodes are numbered here; or a local folder or file with a column `episode`."""
    sample_size: int = 1024
    """How many episodes there are for training (an eighth as many for testing)."""
    prompt: str = "Let us play."
    """What the user says before the environment begins; its own first words follow."""


class Episodes(Dataset):
    """Prompts that are all alike but for the number of their episode, which decides what an environment begins with."""

    Config = EpisodesConfig
    config: EpisodesConfig
    form = Prompt
    columns = ("episode",)
    verifier = "environment"
    made = True

    def example(self, row: Row, id: str) -> Prompt:
        """Say the prompt."""
        return Prompt(id, [{"role": "user", "content": self.config.prompt}], self.reward_columns(row))

    def key(self, example: Example) -> str:
        """Return the number."""
        assert isinstance(example, Prompt)
        return str(example.columns["episode"])

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return the number."""
        return {"episode": row["episode"]}

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield the first numbers that belong to a split, the same for every seed."""
        numbers = (number for number in itertools.count() if side(str(number)) == split)
        return ({"episode": number} for number in itertools.islice(numbers, count))
