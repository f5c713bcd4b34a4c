"""GSM8K: grade-school word problems with worked answers (arXiv:2110.14168)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Completion
from rlpipe.datasets.samples import gsm8k as samples

MARK = "####"


@changing(Changes.result)
@dataclass
class Gsm8kConfig(DatasetConfig):
    """Settings of GSM8K."""

    hub: str = "openai/gsm8k"
    """The hub id that `source=hub` reads."""
    subset: str | None = "main"
    """`main`, or `socratic` with a question before each step."""
    instruction: str | None = None
    """A line put after each question: tells a model that was not trained on these answers how to end its own."""


class Gsm8k(Dataset):
    """A question and its worked answer; as a prompt with `question`, `answer` (the final number) and `steps`."""

    Config = Gsm8kConfig
    form = Completion
    columns = ("question", "answer")
    fixed = True
    verifier = "gsm8k"
    config: Gsm8kConfig

    def example(self, row: Row, id: str) -> Completion:
        """Take the whole worked answer, `<<…>>` annotations and `#### n` included."""
        question, answer = row["question"], row["answer"]
        if not isinstance(question, str) or not isinstance(answer, str):
            raise ValueError("question or answer is not text")
        final_answer(answer)
        if self.config.instruction and question.strip():
            question = f"{question}\n{self.config.instruction}"
        return Completion(
            id, [{"role": "user", "content": question}], [{"role": "assistant", "content": answer}] if answer else []
        )

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return the bare `question`, as `answer` the final number without thousands separators, and in how many
        `steps`, which are lines, the worked answer gets there."""
        worked = row["answer"].rpartition(MARK)[0].strip()
        return {"question": row["question"], "answer": final_answer(row["answer"]), "steps": len(worked.splitlines())}

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield made-up word problems of one or two steps."""
        return samples.rows(split, count, seed)


def final_answer(worked: str) -> str:
    """Return what stands after the last `####`, without commas. Raises ValueError where there is none."""
    _, mark, final = worked.rpartition(MARK)
    if not mark or not final.strip():
        raise ValueError(f"no final answer after {MARK}")
    return final.strip().replace(",", "")
