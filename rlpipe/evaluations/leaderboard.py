"""Files of responses, as leaderboards take them: one JSON object a line, with a prompt and the model's response.

Countdown puzzles are scored too, by Countdown's own reward.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import EvaluationConfig
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core import distributed
from rlpipe.core.errors import DataError, Problem
from rlpipe.core.files import write_lines
from rlpipe.datasets.forms import Example, Form, Prompt
from rlpipe.evaluations import prompt_files
from rlpipe.evaluations.accuracy import verifier
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
from rlpipe.rewards.base import Reward
from rlpipe.rewards.chosen import described
from rlpipe.rewards.combine import prove

if TYPE_CHECKING:
    from rlpipe.records.record import When

SCORER = "countdown"


@changing(Changes.rows)
@dataclass
class LeaderboardConfig(EvaluationConfig):
    """Which prompts are answered, how, and what the file's fields are called."""

    file: str | None = setting(None, Changes.indirect)
    """The prompts: JSON, JSON lines, Parquet, CSV, or text with one prompt a line; Countdown puzzles with `num` and
    `target`; or a folder of such files. Null: held-out prompts of the dataset."""
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
    """Writes `leaderboard.jsonl` into the run's folder: a model's response to each prompt of a file, and the score of
    each puzzle. Of a folder, each file has one of its name in the run's `leaderboard/`."""

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
        """Return what is counted of responses; None where the names of files with puzzles are among it."""
        with contextlib.suppress(DataError):  # the checks say what is wrong with the file
            if self.config.file is None or not prompt_files.has_puzzles(self.config.file, self.config.field):
                return ("responses", "length", "ended_by_length")
        return None

    def drawn(self, config: RunConfig) -> tuple[int, int]:
        """Return one."""
        return 1, settings(self.config.sampling, config.method).max_tokens

    def start(self, context: EvaluationContext) -> None:
        """Take the run's folder, its tools and lengths, and the reward that scores puzzles, proved by its cases."""
        self.run, resolved = context.config, resolve(context.config)
        self.dataset, self.target = resolved.dataset, context.run_dir / context.name
        self.tools = resolved.make_tools() if self.config.tool else []
        self.sampling = settings(self.config.sampling, self.run.method)
        self.scorer: Reward | None = None
        if self.config.file is not None and prompt_files.has_puzzles(self.config.file, self.config.field):
            self.scorer = verifier(SCORER, resolved)
            assert self.scorer is not None
            prove(SCORER, self.scorer)

    def make_examples(self) -> Sequence[Example]:
        """Return the file's prompts. Raises DataError."""
        assert self.config.file is not None
        return prompt_files.read(self.config.file, self.config.field, self.config.limit, self.dataset)

    def protocol(self, loaded: Loaded) -> dict[str, Any]:
        """Add sampling and tools, and what scores puzzles, where there are some."""
        judge = {"verifier": described(self.scorer.config, self.run, loaded.path)} if self.scorer else {}
        return {**super().protocol(loaded), **judge, **drawing(self.run, self.sampling, self.tools, self.config.seed)}

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row a prompt, with its response; `asked` and `response` are as the file that is written has them.

        A puzzle's `score` is what Countdown's reward gives, 1 where it is solved.
        """
        prompts = [example for example in examples if isinstance(example, Prompt)]
        answered = converse(loaded, prompts, self.sampling, self.tools, self.config.seed)
        rows = []
        for prompt, answers in zip(prompts, answered, strict=True):
            texts = [answer.text for answer in answers]
            whole = conversation(prompt, answers)
            given = prompt.columns.get("given", whole["prompt"])
            rows.append({**whole, "asked": given, "response": texts if prompt.columns.get("turns") else texts[0]})
            if self.scorer is not None and isinstance(given, dict):
                [score] = self.scorer.score(answers)
                rows[-1] |= {"score": score.value, "parsed": score.parsed}
        return rows

    def finish(self, rows: Sequence[Row], when: When) -> None:
        """Write the files; after training they hold the trained model's responses."""
        if not distributed.is_main():
            return
        from rlpipe.core.terminal import say  # rich: not for composing

        for target, part in self._files(rows).items():
            target.parent.mkdir(exist_ok=True)
            write_lines(target, map(self._line, part))
            say(f"leaderboard: {len(part)} responses in {target}")

    def _files(self, rows: Sequence[Row]) -> dict[Path, list[Row]]:
        """Return the rows of each file that is to be written."""
        source = None if self.config.file is None else Path(self.config.file).expanduser()
        if source is None or not source.is_dir():
            return {self.target.with_name(f"{self.target.name}.jsonl"): list(rows)}
        files = defaultdict[Path, list[Row]](list)
        for row in rows:
            name = prompt_files.stem(Path(row["id"].rpartition("/")[0]))
            files[self.target / f"{name}.jsonl"].append(row)
        return files

    def _line(self, row: Row) -> Row:
        asked, response = row["asked"], {self.config.response_field: row["response"]}
        if isinstance(asked, dict):
            return {**asked, **response, "score": row["score"]}
        return {self.config.prompt_field: asked, **response}

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """`responses`, their mean `length` in tokens, and the share that was cut (`ended_by_length`).

        Of puzzles also the mean `score` with its 95 % interval, the share that is `solved` and that was not readable
        (`unparsed`); of a folder with several files of them, each one's mean as `<its name>/score`.
        """
        cut = sum(row["finish"] == "length" for row in rows) / len(rows)
        length = sum(row["tokens"] for row in rows) / len(rows)
        puzzles = [row for row in rows if "score" in row]
        return {"responses": len(rows), "length": length, "ended_by_length": cut, **_scores(puzzles)}


def _scores(rows: Sequence[Row]) -> dict[str, float]:
    """Sum up what puzzles have earned; nothing where there are none."""
    if not rows:
        return {}
    from rlpipe.statistics import intervals  # numpy: not for composing

    found = intervals.mean([row["score"] for row in rows])
    numbers = {"score": found.estimate, **found.ends("score_")}
    numbers["solved"] = sum(row["score"] >= 1 for row in rows) / len(rows)
    numbers["unparsed"] = sum(not row["parsed"] for row in rows) / len(rows)
    files = defaultdict[str, list[float]](list)
    for row in rows:
        files[prompt_files.stem(Path(row["id"].rpartition("/")[0]))].append(row["score"])
    if len(files) > 1:
        numbers |= {f"{name}/score": sum(scores) / len(scores) for name, scores in files.items()}
    return numbers
