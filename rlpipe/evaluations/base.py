"""What an evaluation is: it looks at examples one by one and sums them up.

To add an evaluation: subclass `Evaluation`, say which form of held-out example it `takes` (none: it brings
its own, by `make_examples`), and write `rows` (one dict an example) and `summary` (the numbers that tables
show). What it needs of the run beside its own settings (rewards, tools) it gets by `start`; `unfit` and
`problems` say early what would not work; `protocol` says what rows depend on beside the model's weights.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rlpipe.config.kinds import EvaluationConfig, Head
from rlpipe.config.relevance import without
from rlpipe.config.settings import Changes
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Example, Form
from rlpipe.models.base import Loaded
from rlpipe.records.provenance import plain

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from rlpipe.config.schema import RunConfig
    from rlpipe.records.record import When

Row = dict[str, Any]


@dataclass(frozen=True)
class EvaluationContext:
    """What an evaluation may use of the run that it serves."""

    config: RunConfig
    run_dir: Path
    name: str
    """The evaluation's own name in the config: what its files are called by."""


class Evaluation(ABC):
    """One way of measuring a model."""

    Config: ClassVar[type[EvaluationConfig]] = EvaluationConfig
    takes: tuple[Form, ...]
    """The forms of held-out example that it can look at, the one that it likes best first; empty for an evaluation
    that brings its own examples."""
    heads: ClassVar[tuple[Head, ...]] = (Head.causal_lm,)
    """The kinds of model that it can measure."""
    takes_reward: ClassVar[bool] = False
    """Whether it uses the run's rewards."""
    takes_tool: ClassVar[bool] = False
    """Whether completions that it draws may call the run's tools."""
    takes_environment: ClassVar[bool] = False
    """Whether completions that it draws are episodes of the run's environment, where there is one."""
    draws: bool = False
    """Whether it looks at completions that it draws."""
    verifies: ClassVar[bool] = False
    """Whether it tells right completions from wrong ones."""
    whole: ClassVar[bool] = False
    """Whether its examples must be measured together, by one process; others are shared out, in portions."""
    portion: ClassVar[int] = 128
    """Examples between two savings: what an interruption costs at most."""

    def __init__(self, config: EvaluationConfig):
        self.config = config

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings, each at its field's name. Cheap: imports nothing heavy."""
        return []

    def unfit(self, config: RunConfig, columns: Collection[str] | None) -> Problem | None:
        """Return why it has nothing to measure in a run, None where nothing speaks against it. Cheap.

        The Problem's `where` stays empty, and so may its `fix`: leaving the evaluation out is always offered.
        `columns` are those that the examples bring as prompts, None where they are not known yet.
        """
        return None

    def numbers(self, config: RunConfig) -> Collection[str] | None:
        """Return the names that `summary` may give in a run; None where that is not known before. Cheap."""
        return None

    def drawn(self, config: RunConfig) -> tuple[int, int]:
        """Return how many completions it draws of each example in a run, and the most tokens of each. Cheap."""
        return 0, 0

    def repeatable(self) -> bool:
        """Return whether weights, examples and protocol alone decide the rows, bit for bit; asked after `start`.

        Then runs that start from the same model share the rows of before training, through the store; those of rlpipe's
        own evaluations alone, for the code of others may change unnoticed.
        """
        return False

    def start(self, context: EvaluationContext) -> None:  # noqa: B027
        """Take what it needs of the run, once, before the first `rows`."""

    def make_examples(self) -> Sequence[Example]:
        """Return the examples that it brings itself, where it takes none of the dataset's; asked after `start`."""
        raise NotImplementedError(f"{type(self).__name__} takes no held-out examples and brings none")

    def protocol(self, loaded: Loaded) -> dict[str, Any]:
        """Return all that rows depend on beside the weights, in plain types.

        Rows of two models may be compared example by example only where this is the same. Here: the plugin, its
        settings and the chat template; an evaluation adds what it takes of the run (verifier, sampling, tools).
        """
        settings = plain(without(self.config, Changes.nothing, Changes.indirect))
        template = str(loaded.tokenizer.chat_template or "")
        digest = hashlib.sha256(template.encode()).hexdigest()[:16]
        return {"evaluation": self.config.name, "settings": settings, "template": digest}

    @abstractmethod
    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """Measure each example; one row each, in order, with at least `id`.

        By custom also `prompt`, `completion`, `score` and `parts` (named numbers). `score` is the one number of the
        example whose mean change by training gets an interval, the higher the better; rows that are only to be read
        have none.
        """

    def finish(self, rows: Sequence[Row], when: When) -> None:  # noqa: B027
        """Let go of what `rows` has loaded, and write what others take; called once a measurement is complete.

        Called in every process, also when an earlier attempt of the run has measured the rows.
        """

    @abstractmethod
    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """Sum rows up. `start` holds the same examples' rows before training, None when these are them."""

    def notes(self, rows: Sequence[Row]) -> list[str]:
        """Return what a reader of the numbers must know, in sentences: it is said, and kept in the record."""
        return []

    def render(self, rows: Sequence[Row], start: Sequence[Row] | None) -> RenderableType | None:
        """Return what a person shall see of the rows on the terminal, in something that rich can draw."""
        return None
