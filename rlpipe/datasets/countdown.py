"""Countdown: reach a target with given numbers (rules and columns as in TinyZero, github.com/Jiayi-Pan/TinyZero)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.core.errors import Problem
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Example, Prompt
from rlpipe.datasets.samples import countdown as samples

WARM_START = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer.\n"
    "User: Using the numbers {nums}, create an equation that equals {target}. You can use basic arithmetic operations "
    "(+, -, *, /) and each number can only be used once. Show your work in <think> </think> tags. And return the final "
    "answer in <answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>.\n"
    "Assistant: Let me solve this step by step."
)
"""The wording of the hub's warm-start queries: a model that was trained on them must be asked in the same words."""
ASKED = re.compile(re.escape(WARM_START).replace(r"\{nums\}", r"\[([-0-9, ]*)\]").replace(r"\{target\}", "(-?[0-9]+)"))


@changing(Changes.result)
@dataclass
class CountdownConfig(DatasetConfig):
    """Settings of Countdown."""

    hub: str = "Jiayi-Pan/Countdown-Tasks-3to4"
    """The hub id that `source=hub` reads."""
    test_split: str | None = None
    """The held-out split; null holds out `test_fraction` of the train split (the hub has no other)."""
    sample_size: int = 800
    """How many puzzles the generator of `source=sample` makes for training (an eighth as many for testing)."""
    prompt: str | None = None
    """The question, with `{nums}` and `{target}`. Null asks as `dataset=warmstart` of the same source does."""


class Countdown(Dataset):
    """Prompts with the columns `nums` and `target`; the same numbers in another order are the same puzzle."""

    Config = CountdownConfig
    form = Prompt
    columns = ("nums", "target")
    fixed = True
    verifier = "countdown"
    config: CountdownConfig

    def example(self, row: Row, id: str) -> Prompt:
        """Ask for an equation."""
        nums, target = row["nums"], row["target"]
        if not isinstance(nums, list) or not nums or not all(_whole(number) for number in nums):
            raise ValueError("nums is no list of whole numbers")
        if not _whole(target):
            raise ValueError("target is no whole number")
        wording = self.config.prompt or (samples.WORDING if self.config.source == "sample" else WARM_START)
        text = wording.replace("{nums}", str(nums)).replace("{target}", str(target))
        return Prompt(id, [{"role": "user", "content": text}], self.reward_columns(row))

    def key(self, example: Example) -> str:
        """Return the sorted numbers and the target."""
        assert isinstance(example, Prompt)
        return key(example.columns["nums"], example.columns["target"])

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return `nums` and `target`."""
        return {"nums": row["nums"], "target": row["target"]}

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield made-up puzzles that have a solution."""
        return samples.rows(split, count, seed)

    def problems(self) -> list[Problem]:
        """Say where `prompt` lacks a place for the numbers or the target."""
        text = self.config.prompt
        lacking = [] if text is None else [place for place in ("{nums}", "{target}") if place not in text]
        fix = "write {nums} and {target} where they belong"
        return [Problem("dataset.prompt", f"does not mention {', '.join(lacking)}", fix)] if lacking else []


def key(nums: Sequence[int], target: int) -> str:
    """Return the same for puzzles of the same target and the same numbers, in whatever order."""
    return f"{sorted(nums)} {target}"


def asked(question: str) -> tuple[list[int], int]:
    """Return the numbers and the target of a question in the warm start's wording."""
    found = ASKED.fullmatch(question)
    assert found is not None, question
    return [int(number) for number in found[1].split(",")], int(found[2])


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
