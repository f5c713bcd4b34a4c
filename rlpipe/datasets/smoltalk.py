"""SmolTalk: a million conversations for supervised fine-tuning (arXiv:2502.02737)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rlpipe.config.kinds import DatasetConfig
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.calls import as_tools
from rlpipe.datasets.forms import Chat
from rlpipe.datasets.messages import as_messages
from rlpipe.datasets.samples import smoltalk as samples


@dataclass
class SmolTalkConfig(DatasetConfig):
    """Settings of SmolTalk."""

    hub: str = "HuggingFaceTB/smoltalk"
    """The hub id that `source=hub` reads."""
    subset: str | None = "all"
    """One of SmolTalk's sources (`everyday-conversations`, `smol-magpie-ultra` …) or all of them."""
    train_limit: int | None = 50_000
    """Train on at most this many conversations: the whole set has over a million."""


class SmolTalk(Dataset):
    """Whole conversations from the column `messages`."""

    Config = SmolTalkConfig
    form = Chat
    columns = ("messages",)
    fixed = True

    def example(self, row: Row, id: str) -> Chat:
        """Take the conversation as it is, with the tools that the row offers."""
        return Chat(id, as_messages(row["messages"], "user"), tools=as_tools(row.get("tools")))

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield made-up small talk and simple instructions."""
        return samples.rows(split, count, seed)
