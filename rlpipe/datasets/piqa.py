"""PIQA: which of two solutions works in the physical world (arXiv:1911.11641)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.core.errors import DataError
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Choice
from rlpipe.datasets.samples import piqa as samples


class Wording(Enum):
    """How a goal and its solutions are worded."""

    goal = "goal"
    """The goal, then a solution."""
    question = "question"
    """`Question: GOAL`, a line `Answer:`, then a solution: with `model.chat_template=plain` the very text that
    lm-evaluation-harness scores."""
    labelled = "labelled"
    """`Question: GOAL`, then `Answer: SOLUTION` as what the model says."""


@changing(Changes.result)
@dataclass
class PiqaConfig(DatasetConfig):
    """Settings of PIQA."""

    hub: str = "ybisk/piqa"
    """The hub id that `source=hub` reads."""
    revision: str | None = "refs/convert/parquet"
    """The hub's commit, tag or branch: the main branch is a loading script, which `datasets` no longer runs."""
    test_split: str | None = "validation"
    """The held-out split; the labels of PIQA's own `test` are not public."""
    wording: Wording = Wording.goal
    """How a goal and its solutions are worded."""


class Piqa(Dataset):
    """A goal and two solutions. The original files (`valid.jsonl` with `valid-labels.lst` beside it) are read too."""

    Config = PiqaConfig
    config: PiqaConfig
    form = Choice
    columns = ("goal", "sol1", "sol2", "label")
    fixed = True

    def example(self, row: Row, id: str) -> Choice:
        """Ask with the goal; `label` counts the right solution from 0."""
        texts = [row["goal"], row["sol1"], row["sol2"]]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("goal or solution is not text")
        label = str(row["label"]).strip()
        if label not in ("0", "1", "-1"):
            raise ValueError("label is neither 0 nor 1")
        goal, solutions = self._worded(texts[0], texts[1:])
        return Choice(id, [{"role": "user", "content": goal}], solutions, int(label))

    def _worded(self, goal: str, solutions: list[str]) -> tuple[str, list[str]]:
        wording = self.config.wording
        if wording is Wording.goal or not all(text.strip() for text in (goal, *solutions)):
            return goal, solutions  # an empty text stays empty, so that its row is dropped
        if wording is Wording.question:
            return f"Question: {goal}\nAnswer:", solutions
        return f"Question: {goal}", [f"Answer: {solution}" for solution in solutions]

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return the two solutions as `choices` and the right one's number as `answer`."""
        return {"choices": [row["sol1"], row["sol2"]], "answer": int(row["label"])}

    def add_columns(self, rows: list[Row], file: Path, whole: bool) -> None:
        """Add the labels that the original layout keeps in a file of their own, one a line."""
        labels_file = file.with_name(file.name.split(".")[0] + "-labels.lst")
        if "label" in rows[0] or not labels_file.is_file():
            return
        labels = labels_file.read_text("utf-8", errors="replace").split()
        if len(labels) < len(rows) or (whole and len(labels) > len(rows)):
            what = f"{len(labels)} labels for the {len(rows)} rows of {file.name}"
            raise DataError(labels_file, what, "give one label a line, in the order of the rows")
        for number, (row, label) in enumerate(zip(rows, labels, strict=False), 1):
            if label not in ("0", "1"):
                raise DataError(f"{labels_file}, line {number}", f"'{label}' is neither 0 nor 1", "fix the label")
            row["label"] = int(label)

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield made-up goals with a tool that serves and one that does not."""
        return samples.rows(split, count, seed)
