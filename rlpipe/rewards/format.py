"""A reward for completions that are laid out in tags, whatever stands in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.core.errors import Problem
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Case, Reward

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout


@changing(Changes.result)
@dataclass
class FormatConfig(RewardConfig):
    """The wanted layout."""

    tags: list[str] = field(default_factory=lambda: ["think", "answer"])
    """The tags that a completion consists of, in this order, each once, with nothing but white space between."""
    opened: bool = False
    """The prompt has already opened the first tag, so the completion begins inside it."""


class Format(Reward):
    """1 for `<think> … </think> <answer> … </answer>` (or other tags) and nothing around it, else 0.

    The format reward of DeepSeek-R1 (arXiv:2501.12948, section 2.2.2). A tag that stands twice, is left
    open or is empty earns nothing.
    """

    Config = FormatConfig
    config: FormatConfig

    def problems(self) -> list[Problem]:
        """Say which tags cannot be ones."""
        tags = self.config.tags
        bad = [tag for tag in tags if not re.fullmatch(r"[A-Za-z_][\w.-]*", tag)]
        if not tags or bad or len(set(tags)) < len(tags):
            return [Problem("tags", f"{tags} are no different names of tags", "give some, for example [think,answer]")]
        return []

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Score each rollout by its text alone."""
        return [Score(float(self._fits(one.text))) for one in rollouts]

    def _fits(self, text: str) -> bool:
        tags = self.config.tags
        if self.config.opened:
            text = f"<{tags[0]}>{text}"
        marks = [mark for tag in tags for mark in (f"<{tag}>", f"</{tag}>")]
        if any(text.count(mark) != 1 for mark in marks):
            return False
        place = 0
        for number, mark in enumerate(marks):
            found = text.index(mark)
            closes = number % 2 == 1
            if found < place or bool(text[place:found].strip()) != closes:
                return False
            place = found + len(mark)
        return not text[place:].strip()

    def cases(self) -> Sequence[Case]:
        """Return the layout itself, and completions that break it one way each."""
        tags = self.config.tags
        parts = [f"<{tag}> text </{tag}>" for tag in tags]
        whole = "\n".join(parts)
        if self.config.opened:
            whole = whole.removeprefix(f"<{tags[0]}>")
        wrong = [
            "",
            f"{whole} and more",
            f"{whole}\n{parts[-1]}",
            whole.replace(f"</{tags[-1]}>", ""),
            whole.replace(" text ", " "),
            f"<{tags[-1]}>" * 10_000,
            "\x00" + whole if not self.config.opened else "\x00",
        ]
        return [Case(whole, {}, 1.0), Case(f"{whole}\n", {}, 1.0), *(Case(text, {}, 0.0) for text in wrong)]
