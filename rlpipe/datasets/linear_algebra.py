"""Linear algebra: determinants, inverses, reduced row echelon forms and linear systems, worked out exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem, guess
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Completion
from rlpipe.datasets.samples import linear_algebra as samples
from rlpipe.datasets.samples.linear_algebra import TASKS

LARGEST_SIZE = 8
"""Beyond it, worked steps take thousands of lines."""
LARGEST_ENTRY = 10**6


@changing(Changes.result)
@dataclass
class LinearAlgebraConfig(DatasetConfig):
    """Which exercises, and how they are asked."""

    source: str = setting("sample", Changes.indirect, timed=True)
    """`sample`: exercises are made here; or a local folder or file with `question`, `work` and `answer`."""
    tasks: list[str] = setting(lambda: list(TASKS), timed=True)
    """What is asked, each as often as the others: the `determinant` or `inverse` of a matrix, its reduced row echelon
    form (`rref`; of a matrix with one column more than rows), or to `solve` A x = b where that has one solution."""
    sizes: list[int] = setting(lambda: [2, 3], timed=True, at_least=2, at_most=LARGEST_SIZE)
    """Rows of the matrices, each as often as the others."""
    entries: list[int] = setting(lambda: [-5, 5], timed=True, at_least=-LARGEST_ENTRY, at_most=LARGEST_ENTRY)
    """The least and the largest entry of a matrix; all between are as likely."""
    instruction: str | None = None
    """A line put after each question: tells a model that was not trained on these answers how to end its own."""


class LinearAlgebra(Dataset):
    """A question and its worked answer; as a prompt with `answer`, `task`, and `steps` (lines of the work)."""

    Config = LinearAlgebraConfig
    config: LinearAlgebraConfig
    form = Completion
    columns = ("question", "work", "answer")
    fixed = True
    verifier = "matrix"
    made = True

    def example(self, row: Row, id: str) -> Completion:
        """Take the work as a thought, and the answer between tags."""
        question, work, answer = (row[column] for column in self.columns)
        if not all(isinstance(text, str) for text in (question, work, answer)):
            raise ValueError("question, work or answer is not text")
        if self.config.instruction and question.strip():
            question = f"{question}\n{self.config.instruction}"
        worked = f"<think>\n{work}\n</think>\n<answer>{answer}</answer>"
        return Completion(id, [{"role": "user", "content": question}], [{"role": "assistant", "content": worked}])

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return `answer`, `task` where it is known, and in how many `steps`, which are lines, the work gets there."""
        known = {"task": row["task"]} if "task" in row else {}
        return {"answer": row["answer"], **known, "steps": len(row["work"].splitlines())}

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield different exercises; the matrices of test rows are in no train row."""
        least, largest = self.config.entries
        return samples.rows(split, count, seed, self.config.tasks, self.config.sizes, (least, largest))

    def problems(self) -> list[Problem]:
        """Say which settings leave no exercises."""
        config, found = self.config, list[Problem]()
        if not config.tasks:
            found.append(Problem("dataset.tasks", "names no task", f"name some of {', '.join(TASKS)}"))
        for task in config.tasks:
            if task not in TASKS:
                found.append(Problem("dataset.tasks", f"there is no task '{task}'", guess(task, TASKS)))
        if not config.sizes:
            found.append(Problem("dataset.sizes", "names no size", "write dataset.sizes=[2,3]"))
        if len(config.entries) != 2 or config.entries[0] >= config.entries[1]:
            what = "is no least and larger largest entry"
            found.append(Problem("dataset.entries", what, "write two numbers: dataset.entries=[-5,5]"))
        return found
