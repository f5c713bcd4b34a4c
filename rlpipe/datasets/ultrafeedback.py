"""UltraFeedback, binarized: pairs of completions with a preference (arXiv:2310.01377)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rlpipe.config.kinds import DatasetConfig
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.calls import as_tools
from rlpipe.datasets.forms import Preference
from rlpipe.datasets.messages import as_pair
from rlpipe.datasets.samples import ultrafeedback as samples


@dataclass
class UltraFeedbackConfig(DatasetConfig):
    """Settings of UltraFeedback."""

    hub: str = "HuggingFaceH4/ultrafeedback_binarized"
    """The hub id that `source=hub` reads; `trl-lib/ultrafeedback_binarized` (splits train, test) fits too."""
    train_split: str = "train_prefs"
    """The split to train on."""
    test_split: str | None = "test_prefs"
    """The held-out split; null holds out `test_fraction` of the train split."""


class UltraFeedback(Dataset):
    """Pairs from `chosen` and `rejected`: whole conversations, or completions of the column `prompt`."""

    Config = UltraFeedbackConfig
    form = Preference
    columns = ("chosen", "rejected")
    fixed = True

    def example(self, row: Row, id: str) -> Preference:
        """Split the pair into its common prompt and two completions."""
        pair = as_pair(row.get("prompt"), row["chosen"], row["rejected"])
        return Preference(id, *pair, tools=as_tools(row.get("tools")))

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield made-up pairs: a polite, right, whole answer and one that fails in one of several ways."""
        return samples.rows(split, count, seed)
