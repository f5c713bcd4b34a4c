"""Several datasets together, all as conversations: what the small model is trained on from random weights.

Where a dataset has better and worse answers, all of them are there: the mixture teaches the language
and leaves what is preferred to the methods.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.resolved import default
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem, RlpipeError
from rlpipe.datasets.base import Dataset, Row, Rows, Splits
from rlpipe.datasets.forms import Chat, Example, Labelled, form_name, route


@changing(Changes.result)
@dataclass
class MixtureConfig(DatasetConfig):
    """Settings of a mixture."""

    parts: dict[str, float] = setting(
        lambda: {"smoltalk": 1.0, "ultrafeedback": 1.0, "warmstart": 1.0, "gsm8k": 1.0, "piqa": 1.0},
        above=0,
        at_most=1,
    )
    """The datasets that are mixed, and the share of each one's train rows that is used (above 0, at most 1).

    Each part has its own default settings, with this dataset's `source` and `sample_size`."""


CONVERSATIONS = (Labelled, Chat)
"""The forms that become conversations; `Labelled` comes first, for it keeps the worse answers."""


class Mixture(Dataset):
    """The parts' rows as conversations: train rows one part after another, test rows in turn."""

    Config = MixtureConfig
    form = Chat
    columns = ("id", "messages")
    fixed = True
    config: MixtureConfig

    def example(self, row: Row, id: str) -> Chat:
        """Take a part's conversation under the part's name and its own id."""
        return Chat(row["id"], row["messages"])

    def make_rows(self, seed: int) -> tuple[Rows, Rows]:
        """Load every part and put their rows together."""
        from rlpipe.datasets.load import load

        train, test, notes = [], [], []
        for (name, share), part in zip(self.config.parts.items(), self.parts(), strict=True):
            splits: Splits = load(part, CONVERSATIONS, seed)
            examples = splits.train.examples
            if share < 1:
                examples = random.Random(seed).sample(examples, max(1, round(share * len(examples))))
            train += [_row(name, example) for example in examples]
            test.append([_row(name, example) for example in splits.test.examples])
            dropped = sum(splits.train.report.dropped.values())
            notes.append(
                f"{name}: {len(examples)} train rows, {dropped} dropped, identity {splits.train.report.identity}"
            )
        turns = [row for turn in zip_longest(*test) for row in turn if row is not None]
        source = f"{self.config.source} ({', '.join(self.config.parts)})"
        return Rows("train", source, train, notes), Rows("test", source, turns)

    def parts(self) -> list[Dataset]:
        """Return the datasets that are mixed."""
        return [self._part(name) for name in self.config.parts]

    def _part(self, name: str) -> Dataset:
        config = self.config
        part: Dataset = default("dataset", name, source=config.source, sample_size=config.sample_size, test_limit=None)
        return part

    def problems(self) -> list[Problem]:
        """Say which parts are unknown, or cannot become conversations."""
        return list(self._problems())

    def _problems(self) -> Iterator[Problem]:
        if not self.config.parts:
            yield Problem("dataset.parts", "no dataset is named", "name at least one, as {smoltalk: 1}")
        if self.config.source not in ("hub", "sample"):
            yield Problem("dataset.source", "a mixture has no files of its own", "set dataset.source to hub or sample")
        for name in self.config.parts:
            where = f"dataset.parts.{name}"
            try:
                part = self._part(name)
            except RlpipeError as error:
                yield error.at(where)
                continue
            if isinstance(part, Mixture) or route(part.form, CONVERSATIONS) is None:
                what = f"{form_name(part.form)} examples of '{name}' cannot become conversations"
                yield Problem(where, what, "leave it out")


def _row(part: str, example: Example) -> Row:
    assert isinstance(example, Chat | Labelled)
    messages = example.messages if isinstance(example, Chat) else example.prompt + example.completion
    return {"id": f"{part}/{example.id}", "messages": messages}
