"""Which examples fit into `max_length`, and what becomes of those that do not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import DataError
from rlpipe.datasets.base import LoadReport
from rlpipe.datasets.forms import Completion, Example
from rlpipe.datasets.lazily import picked
from rlpipe.methods.offline import OfflineConfig, Overlong
from rlpipe.models.tokens import Tokens, tokenize
from rlpipe.tools.protocols import Protocol
from rlpipe.training.offline.traces import tokenize_traces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 4096
"""Examples tokenised at once: enough for speed, few enough that their text is not held twice over."""


@dataclass
class TokenizedExamples:
    """The examples to train on, with their tokens and what happened to the others."""

    examples: Sequence[Example]
    tokens: Sequence[Tokens]
    lengths: Sequence[int]
    """Tokens of each example's longest sequence."""
    numbers: Sequence[int]
    """The place of each among all examples."""
    seen: int
    """How many examples there were."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Why examples were left out, and how many."""
    cut: int = 0
    """How many lost their end."""
    protocol: str | None = None
    """How tool calls are written; None without tools."""
    rows: LoadReport | None = None
    """How the rows that the examples were made of were read."""

    def shuffled(self, seed: int) -> TokenizedExamples:
        """Return the same in an order that depends on the seed and on how many examples there were."""
        order = list(range(self.seen))
        random.Random(seed).shuffle(order)
        places = {number: place for place, number in enumerate(self.numbers)}
        return self._picked([places[number] for number in order if number in places])

    def longest_first(self) -> TokenizedExamples:
        """Return the same with the longest examples first."""
        return self._picked(sorted(range(len(self.lengths)), key=lambda row: -self.lengths[row]))

    def at_most(self, count: int, seed: int) -> TokenizedExamples:
        """Return `count` of the examples, drawn by `seed`; the others are counted as out of reach."""
        if count >= len(self.tokens):
            return self
        left = len(self.tokens) - count
        part = self._picked(sorted(random.Random(f"{seed}/at_most").sample(range(len(self.tokens)), count)))
        return replace(part, dropped={**self.dropped, "not reached by the last step": left})

    def _picked(self, rows: list[int]) -> TokenizedExamples:
        return replace(
            self,
            examples=picked(self.examples, rows),
            tokens=picked(self.tokens, rows),
            lengths=picked(self.lengths, rows),
            numbers=picked(self.numbers, rows),
        )

    def report(self) -> dict[str, Any]:
        """Return the counts and the lengths' spread, for the record."""
        lengths = sorted(self.lengths)
        return {
            **({} if self.rows is None else {"rows": _rows(self.rows)}),
            "seen": self.seen,
            "kept": len(lengths),
            "dropped": dict(self.dropped),
            "cut": self.cut,
            **({} if self.protocol is None else {"tool_protocol": self.protocol}),
            "tokens": {"median": lengths[len(lengths) // 2], "longest": lengths[-1], "all": sum(lengths)},
        }


def _rows(report: LoadReport) -> dict[str, Any]:
    return {"read": report.read, "kept": report.kept, "dropped": dict(report.dropped)}


@dataclass
class Fitting:
    """Tokenises examples and applies `overlong`; counts what it leaves out."""

    tokenizer: PreTrainedTokenizerBase
    config: OfflineConfig
    mark: bool = True
    protocol: Protocol | None = None
    """Lays out completions that call tools."""
    seen: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    longest: int = 0

    def fit(self, examples: Sequence[Example]) -> Iterator[tuple[int, Tokens]]:
        """Yield the tokens of those that fit, with their places.

        An example whose prompt alone fills `max_length` is always dropped: nothing of it could be trained. Raises
        DataError when no example is left.
        """
        kept = 0
        for start in range(0, len(examples), BATCH):
            part = examples[start : start + BATCH]
            for number, tokens in enumerate(_tokens(part, self.tokenizer, self.mark, self.protocol), start):
                self.longest = max(self.longest, tokens.length)
                reason = _unfit(tokens, self.config)
                if reason:
                    self.dropped[reason] += 1
                    continue
                kept += 1
                if tokens.length > self.config.max_length:
                    self.cut += 1
                    tokens = tokens.cut(self.config.max_length)
                yield number, tokens
        self.seen = len(examples)
        if not kept:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "there were none"
            raise DataError(
                f"method.max_length={self.config.max_length}",
                f"no example is left to train on ({reasons}; the longest has {self.longest} tokens)",
                "raise method.max_length or choose other data",
            )


def tokenize_examples(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: OfflineConfig,
    mark: bool = True,
    protocol: Protocol | None = None,
) -> TokenizedExamples:
    """Tokenise the examples and apply `overlong`, as `Fitting` does."""
    fitting = Fitting(tokenizer, config, mark, protocol)
    kept = list(fitting.fit(examples))
    numbers, tokens = [number for number, _ in kept], [tokens for _, tokens in kept]
    return TokenizedExamples(
        picked(examples, numbers),
        tokens,
        [one.length for one in tokens],
        numbers,
        fitting.seen,
        dict(fitting.dropped),
        fitting.cut,
        None if protocol is None else protocol.name.value,
    )


def _tokens(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, mark: bool, protocol: Protocol | None
) -> list[Tokens]:
    completions = [example for example in examples if isinstance(example, Completion)]
    if protocol is None or len(completions) < len(examples):
        return tokenize(examples, tokenizer, mark)
    return tokenize_traces(completions, tokenizer, protocol)


def _unfit(tokens: Tokens, config: OfflineConfig) -> str | None:
    if any(not answer for answer in tokens.answers):
        return "without a token to train on"
    if tokens.length > config.max_length and config.overlong is Overlong.drop:
        return "longer than max_length"
    if len(tokens.prompt) >= config.max_length:
        return "whose prompt alone fills max_length"
    spoken = tokens.spoken
    if spoken is not None and not any(spoken[: config.max_length]):
        return "in which the assistant says nothing"
    return None
