"""A few prompts with the model's likeliest completions, before and after training: for reading."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import EvaluationConfig
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Example, Form, Prompt
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.evaluations import prompt_files
from rlpipe.evaluations.base import Evaluation, EvaluationContext, Row
from rlpipe.evaluations.completions import conversation, converse, drawing, draws_repeat
from rlpipe.models.base import Loaded

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDEST = 400
"""Characters of a text that the terminal shows; the files have all of it."""


@changing(Changes.rows)
@dataclass
class SamplesConfig(EvaluationConfig):
    """Which prompts, and how much there is to read."""

    limit: int | None = 4
    """Complete this many prompts, the first ones."""
    file: str | None = setting(None, Changes.indirect)
    """A file of prompts of one's own (JSON, JSON lines, Parquet, CSV, or text with one prompt a line); null: held-out
    prompts of the dataset. A prompt may be a list of a user's turns, as MT-Bench's: each is answered in its turn."""
    field: str | None = setting(None, Changes.indirect)
    """The file's field that holds the prompt; null: the first among prompt, turns, messages, instruction, question and
    text."""
    max_tokens: int = setting(128, at_least=1, at_most=10**7, usual=(None, 2**17))
    """Longest completion in tokens."""


class Samples(Evaluation):
    """Likeliest completions of a few prompts, held-out ones or those of a file, to read beside each other."""

    Config = SamplesConfig
    config: SamplesConfig
    takes: tuple[Form, ...] = (Prompt,)
    takes_tool = True
    takes_environment = True
    draws = True

    def __init__(self, config: EvaluationConfig):
        super().__init__(config)
        if self.config.file is not None:
            self.takes = ()

    def problems(self) -> list[Problem]:
        """Say what is wrong with the file."""
        return prompt_files.problems(self.config.file, self.config.field)

    def numbers(self, config: RunConfig) -> Collection[str] | None:
        """Return none: a few completions are no measurement."""
        return ()

    def drawn(self, config: RunConfig) -> tuple[int, int]:
        """Return one."""
        return 1, self.config.max_tokens

    def start(self, context: EvaluationContext) -> None:
        """Take the run's tools and, for prompts of the dataset, its environment."""
        self.run, self.dataset = context.config, resolve(context.config).dataset
        self.tools = resolve(self.run).make_tools()
        self.environments = resolve(self.run).environments if self.takes else None
        self.sampling = SamplingConfig(temperature=0.0, max_tokens=self.config.max_tokens)

    def make_examples(self) -> Sequence[Example]:
        """Return the file's prompts. Raises DataError."""
        assert self.config.file is not None
        return prompt_files.read(self.config.file, self.config.field, self.config.limit, self.dataset)

    def protocol(self, loaded: Loaded) -> dict[str, Any]:
        """Add sampling and tools."""
        return {
            **super().protocol(loaded),
            **drawing(self.run, self.sampling, self.tools, None, played=bool(self.takes)),
        }

    def repeatable(self) -> bool:
        """Return whether completions repeat."""
        return draws_repeat(self.run)

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row a prompt: its text, and the completion with its end and its tool calls. There is no score.

        Where the user has several turns, `turns` holds each with its completion, and `completion` all of them.
        """
        prompts = [example for example in examples if isinstance(example, Prompt)]
        answered = converse(loaded, prompts, self.sampling, self.tools, environments=self.environments)
        return [conversation(prompt, answers) for prompt, answers in zip(prompts, answered, strict=True)]

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """Nothing: a few completions are no measurement."""
        return {}

    def render(self, rows: Sequence[Row], start: Sequence[Row] | None) -> RenderableType | None:
        """Return prompts with their completions: before and after where both are there."""
        from rich.table import Table
        from rich.text import Text

        names = ("prompt", "completion") if start is None else ("prompt", "before", "after")
        if not any(one["completion"].strip() for one in (*rows, *(start or ()))):
            return None  # a table of blank cells
        table = Table(*names, show_lines=True, title="samples: likeliest completions")
        for row, then in zip(rows, rows if start is None else start, strict=True):
            for turn, turn_then in zip(row.get("turns", [row]), then.get("turns", [then]), strict=True):
                cells = [_end(turn)] if start is None else [_end(turn_then), _end(turn)]
                table.add_row(*(Text(_short(cell)) for cell in (turn["prompt"], *cells)))
        return table


def _end(row: Row) -> str:
    shown = _short(row["completion"]).strip(" ⏎") or "(empty)"
    return shown + (" … (cut by length)" if row["finish"] == "length" else "")


def _short(text: str) -> str:
    """Return a text in a line of cells: a row of empty lines is worth one sign."""
    shown = re.sub(r"\s*\n\s*", " ⏎ ", text)
    return shown if len(shown) <= WIDEST else f"{shown[:WIDEST]}…"
