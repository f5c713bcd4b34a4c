"""Warm start: reasoning traces for Countdown that show verification, backtracking and subgoals (arXiv:2503.01307)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rlpipe.config.kinds import DatasetConfig
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Completion
from rlpipe.datasets.messages import as_messages
from rlpipe.datasets.samples import warmstart as samples

THINK = "<think>"


@dataclass
class WarmStartConfig(DatasetConfig):
    """Settings of the warm start."""

    hub: str = "Asap7772/cog_behav_all_strategies"
    """The hub id that `source=hub` reads."""


class WarmStart(Dataset):
    """A query and the trace that answers it.

    The text stays as it is, except that white space at the query's end goes, and that a `<think>`
    which ends the query moves to the completion's beginning: the model must learn to open it.
    """

    Config = WarmStartConfig
    form = Completion
    columns = ("query", "completion")

    def example(self, row: Row, id: str) -> Completion:
        """Make a prompt of the query and a completion of the trace."""
        query, completion = row["query"], row["completion"]
        if isinstance(query, str) and isinstance(completion, str):
            query = query.rstrip()
            if query.endswith(THINK):
                query, completion = query.removesuffix(THINK).rstrip(), f"{THINK}\n{completion.lstrip()}"
        return Completion(id, as_messages(query, "user"), as_messages(completion, "assistant"))

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield made-up traces that try a few ways to the target and end with one that works."""
        return samples.rows(split, count, seed)
