"""A file of responses, as leaderboards take it: one JSON object a line, with a prompt and the model's response."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import EvaluationConfig
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core import distributed
from rlpipe.core.errors import Problem
from rlpipe.core.files import write_lines
from rlpipe.datasets.forms import Example, Form, Prompt
from rlpipe.evaluations import prompt_files
from rlpipe.evaluations.base import Evaluation, EvaluationContext, Row
from rlpipe.evaluations.completions import (
    LikeliestConfig,
    conversation,
    converse,
    draw_problems,
    drawing,
    settings,
)
from rlpipe.models.base import Loaded

if TYPE_CHECKING:
    from rlpipe.records.record import When


@changing(Changes.rows)
@dataclass
class LeaderboardConfig(EvaluationConfig):
    """Which prompts are answered, how, and what the file's fields are called."""

    file: str | None = setting(None, Changes.indirect)
    """The prompts: JSON, JSON lines, Parquet, CSV, or text with one prompt a line; null: held-out prompts of the
    dataset."""
    field: str | None = setting(None, Changes.indirect)
    """The file's field that holds the prompt; null: the first among prompt, turns, messages, instruction, question and
    text."""
    sampling: LikeliestConfig = setting(lambda: LikeliestConfig(max_tokens=1024), Changes.indirect)
    """How responses are drawn."""
    seed: int = setting(0, Changes.indirect, at_least=0, below=2**32)
    """Decides what is drawn, where the temperature is above 0."""
    tool: bool = setting(True, Changes.indirect)
    """Offer the run's tools."""
    prompt_field: str = setting("prompt", Changes.nothing)
    """What the prompt is called in the file that is written."""
    response_field: str = setting("response", Changes.nothing)
    """What the response is called there."""


class Leaderboard(Evaluation):
    """Writes `leaderboard.jsonl` into the run's folder: a model's response to each prompt of a file."""

    Config = LeaderboardConfig
    config: LeaderboardConfig
    takes: tuple[Form, ...] = (Prompt,)
    takes_tool = True
    draws = True
    portion = 32  # responses are long

    def __init__(self, config: EvaluationConfig):
        super().__init__(config)
        if self.config.file is not None:
            self.takes = ()

    def problems(self) -> list[Problem]:
        """Say what is wrong with the file, the sampling and the names."""
        config = self.config
        found = prompt_files.problems(config.file, config.field) + draw_problems(config.sampling)
        if config.prompt_field == config.response_field or not (config.prompt_field and config.response_field):
            found.append(Problem("response_field", "prompt and response need two names", "give two different ones"))
        return found

    def numbers(self, config: RunConfig) -> Collection[str] | None:
        """Return what is counted of responses."""
        return ("responses", "length", "ended_by_length")

    def drawn(self, config: RunConfig) -> tuple[int, int]:
        """Return one."""
        return 1, settings(self.config.sampling, config.method).max_tokens

    def start(self, context: EvaluationContext) -> None:
        """Take the run's folder, its tools and its lengths."""
        self.run = context.config
        self.target = context.run_dir / f"{context.name}.jsonl"
        self.tools = resolve(self.run).make_tools() if self.config.tool else []
        self.sampling = settings(self.config.sampling, self.run.method)

    def make_examples(self) -> Sequence[Example]:
        """Return the file's prompts. Raises DataError."""
        assert self.config.file is not None
        return prompt_files.read(self.config.file, self.config.field, self.config.limit)

    def protocol(self, loaded: Loaded) -> dict[str, Any]:
        """Add sampling and tools."""
        return {**super().protocol(loaded), **drawing(self.run, self.sampling, self.tools, self.config.seed)}

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row a prompt, with its response; `asked` and `response` are as the file that is written has them."""
        prompts = [example for example in examples if isinstance(example, Prompt)]
        answered = converse(loaded, prompts, self.sampling, self.tools, self.config.seed)
        rows = []
        for prompt, answers in zip(prompts, answered, strict=True):
            texts = [answer.text for answer in answers]
            whole = conversation(prompt, answers)
            given = prompt.columns.get("given", whole["prompt"])
            rows.append({**whole, "asked": given, "response": texts if prompt.columns.get("turns") else texts[0]})
        return rows

    def finish(self, rows: Sequence[Row], when: When) -> None:
        """Write the file; after training it holds the trained model's responses."""
        names = self.config.prompt_field, self.config.response_field
        if distributed.is_main():
            write_lines(self.target, ({names[0]: row["asked"], names[1]: row["response"]} for row in rows))
            from rlpipe.core.terminal import say  # rich: not for composing

            say(f"leaderboard: {len(rows)} responses in {self.target}")

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """`responses`, their mean `length` in tokens, and the share that was cut (`ended_by_length`)."""
        cut = sum(row["finish"] == "length" for row in rows) / len(rows)
        length = sum(row["tokens"] for row in rows) / len(rows)
        return {"responses": len(rows), "length": length, "ended_by_length": cut}
