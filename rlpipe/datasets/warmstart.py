"""Warm start: reasoning traces for Countdown that show verification, backtracking and subgoals (arXiv:2503.01307).

Such traces are a model's. Where there are none, a search solves real puzzles and is written down instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets import countdown, countdown_search
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.countdown import Countdown, CountdownConfig
from rlpipe.datasets.forms import Completion, Example
from rlpipe.datasets.messages import as_messages
from rlpipe.datasets.samples import warmstart as samples

THINK = "<think>"
SOLVED = "countdown"
"""The source that is a search over Countdown's puzzles."""


@changing(Changes.result)
@dataclass
class WarmStartConfig(DatasetConfig):
    """Settings of the warm start."""

    source: str = setting("${model.dataset_source}", Changes.indirect, timed=True)
    """`hub` (traces of a model), `sample`, a local folder or file in the hub's columns, or `countdown`: traces of a
    solver, made by search for the puzzles of `puzzles`."""
    hub: str = "Asap7772/cog_behav_all_strategies"
    """The hub id that `source=hub` reads."""
    puzzles: str = setting("hub", Changes.indirect)
    """Where `source=countdown` finds puzzles: `hub`, or a local folder or file with the columns `nums` and `target`.
    A puzzle takes about a millisecond: of many, set `train_limit`."""
    puzzles_test_split: str | None = setting(None, Changes.indirect)
    """What `dataset.test_split` of `dataset=countdown` is, so that the puzzles which are held out there are not trained
    on here; null holds out `test_fraction` of the train split, the same puzzles in both."""


class WarmStart(Dataset):
    """A query and the trace that answers it.

    The text stays as it is, except that white space at the query's end goes, and that a `<think>`
    which ends the query moves to the completion's beginning: the model must learn to open it.
    """

    Config = WarmStartConfig
    form = Completion
    fixed = True
    config: WarmStartConfig

    def __init__(self, config: WarmStartConfig):
        self.solves = config.source == SOLVED
        self.other_split = (
            config.test_split if self.solves and config.test_split != WarmStartConfig.test_split else None
        )
        if self.solves:  # rows are read as Countdown's
            hub = CountdownConfig.hub if config.hub == WarmStartConfig.hub else config.hub
            config = replace(config, source=config.puzzles, hub=hub, test_split=config.puzzles_test_split)
        super().__init__(config)
        self.columns = Countdown.columns if self.solves else ("query", "completion")

    def example(self, row: Row, id: str) -> Completion:
        """Make a prompt of the query and a completion of the trace; of a puzzle, what the search finds."""
        if self.solves:
            return self._solved(row, id)
        query, completion = row["query"], row["completion"]
        if isinstance(query, str) and isinstance(completion, str):
            query = query.rstrip()
            if query.endswith(THINK):
                query, completion = query.removesuffix(THINK).rstrip(), f"{THINK}\n{completion.lstrip()}"
        return Completion(id, as_messages(query, "user"), as_messages(completion, "assistant"))

    def _solved(self, row: Row, id: str) -> Completion:
        """Ask as Countdown asks, and answer by search. Raises ValueError for a puzzle that is not solved."""
        puzzle = Countdown(CountdownConfig(name=SOLVED, source=self.config.source)).example(row, id)
        trace = countdown_search.trace(row["nums"], row["target"])
        return Completion(id, puzzle.prompt, as_messages(trace, "assistant"))

    def key(self, example: Example) -> str:
        """Return the text, but of a solved puzzle its numbers and target: it is held out where Countdown's is."""
        if not self.solves:
            return super().key(example)
        assert isinstance(example, Completion)
        return countdown.key(*countdown.asked(str(example.prompt[0]["content"])))

    def notes(self) -> list[str]:
        """Say whose traces they are."""
        return ["the traces are a solver's: made by search, not by a model"] if self.solves else []

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield made-up traces that try a few ways to the target and end with one that works."""
        return samples.rows(split, count, seed)

    def problems(self) -> list[Problem]:
        """Say where puzzles are none to be solved."""
        found = []
        if self.solves and self.config.puzzles in ("sample", SOLVED):
            what = "made-up puzzles have traces of their own"
            found.append(Problem("dataset.puzzles", what, "set dataset.source=sample, or name a folder or hub"))
        if self.other_split is not None:
            what = f"is {self.other_split}, but solved puzzles have a field of their own"
            found.append(Problem("dataset.test_split", what, f"set dataset.puzzles_test_split={self.other_split}"))
        if not self.solves and (self.config.puzzles != "hub" or self.config.puzzles_test_split is not None):
            fix = "add dataset.source=countdown, or leave it out"
            found.append(Problem("dataset.puzzles", "has no effect: no puzzles are solved", fix))
        return found
