"""Which examples fit into `max_length`, and what becomes of those that do not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import DataError
from rlpipe.datasets.base import LoadReport
from rlpipe.datasets.forms import Completion, Example
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

    examples: list[Example]
    tokens: list[Tokens]
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

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example's longest sequence."""
        return [tokens.length for tokens in self.tokens]

    def longest_first(self) -> TokenizedExamples:
        """Return the same with the longest examples first."""
        return self._picked(sorted(range(len(self.tokens)), key=lambda row: -self.tokens[row].length))

    def at_most(self, count: int, seed: int) -> TokenizedExamples:
        """Return `count` of the examples, drawn by `seed`; the others are counted as out of reach."""
        if count >= len(self.tokens):
            return self
        left = len(self.tokens) - count
        part = self._picked(sorted(random.Random(f"{seed}/at_most").sample(range(len(self.tokens)), count)))
        return replace(part, dropped={**self.dropped, "not reached by the last step": left})

    def _picked(self, rows: list[int]) -> TokenizedExamples:
        examples, tokens = [self.examples[row] for row in rows], [self.tokens[row] for row in rows]
        return replace(self, examples=examples, tokens=tokens)

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


def tokenize_examples(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: OfflineConfig,
    mark: bool = True,
    protocol: Protocol | None = None,
) -> TokenizedExamples:
    """Tokenise the examples and apply `overlong`; `protocol` lays out completions that call tools.

    An example whose prompt alone fills `max_length` is always dropped: nothing of it could be
    trained. Raises DataError when no example is left.
    """
    kept: list[tuple[Example, Tokens]] = []
    dropped: Counter[str] = Counter()
    cut, longest = 0, 0
    for start in range(0, len(examples), BATCH):
        part = examples[start : start + BATCH]
        for example, tokens in zip(part, _tokens(part, tokenizer, mark, protocol), strict=True):
            longest = max(longest, tokens.length)
            reason = _unfit(tokens, config)
            if reason:
                dropped[reason] += 1
                continue
            if tokens.length > config.max_length:
                tokens, cut = tokens.cut(config.max_length), cut + 1
            kept.append((example, tokens))
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "there were none"
        raise DataError(
            f"method.max_length={config.max_length}",
            f"no example is left to train on ({reasons}; the longest has {longest} tokens)",
            "raise method.max_length or choose other data",
        )
    examples_kept, tokens_kept = [example for example, _ in kept], [tokens for _, tokens in kept]
    name = None if protocol is None else protocol.name.value
    return TokenizedExamples(examples_kept, tokens_kept, len(examples), dict(dropped), cut, name)


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
