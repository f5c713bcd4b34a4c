"""From raw rows to usable examples: every row that is left out is counted under a stated reason."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlpipe.core.errors import DataError, guess
from rlpipe.datasets.base import Dataset, Row, Rows
from rlpipe.datasets.forms import (
    Chat,
    Choice,
    Completion,
    Converter,
    Example,
    Labelled,
    Message,
    Preference,
    Prompt,
    Text,
    apply,
    body,
    with_columns,
)
from rlpipe.datasets.messages import other_parts
from rlpipe.datasets.system import with_system

MOST_REASONS = 20
"""Further reasons are counted together: a plugin that puts the row's text into its message must not fill the report."""

REPEATED = "repeats an earlier row"
IN_TEST = "stands in the test split too"


def _blank(messages: Sequence[Message]) -> bool:
    return all(not message.get("tool_calls") and not str(message["content"] or "").strip() for message in messages)


def unusable(example: Example) -> str | None:
    """Return why no method could use an example, None where there is nothing against it."""
    rule = _RULES.get(type(example))
    return rule(example) if rule else None


def _chat(example: Chat) -> str | None:
    answers = [message for message in example.messages if message["role"] == "assistant"]
    if not answers:
        return "no assistant turn"
    return "empty assistant turn" if any(_blank([message]) for message in answers) else None


def _completion(example: Completion | Labelled) -> str | None:
    if _blank(example.prompt):
        return "empty prompt"
    return "empty completion" if _blank(example.completion) else None


def _preference(example: Preference) -> str | None:
    if _blank(example.prompt):
        return "empty prompt"
    if _blank(example.chosen) or _blank(example.rejected):
        return "empty completion"
    same = example.chosen == example.rejected or (
        [str(message["content"]).strip() for message in example.chosen]
        == [str(message["content"]).strip() for message in example.rejected]
    )
    return "chosen == rejected" if same else None


def _choice(example: Choice) -> str | None:
    if _blank(example.prompt):
        return "empty prompt"
    if not all(text.strip() for text in example.choices):
        return "empty choice"
    if not 0 <= example.answer < len(example.choices):
        return "no right choice (label out of range)"
    if len(example.choices) < 2:
        return "no wrong choice"
    right = example.choices[example.answer]
    return "a wrong choice equals the right one" if example.choices.count(right) > 1 else None


def _prompt(example: Prompt) -> str | None:
    return "empty prompt" if _blank(example.prompt) else None


def _text(example: Text) -> str | None:
    return None if example.text.strip() else "empty text"


_RULES: dict[type[Example], Callable[[Any], str | None]] = {
    Chat: _chat,
    Completion: _completion,
    Labelled: _completion,
    Preference: _preference,
    Choice: _choice,
    Prompt: _prompt,
    Text: _text,
}


@dataclass(frozen=True)
class Kept:
    """One usable row: what it became, and how it is recognised."""

    number: int
    native: Example
    examples: list[Example]
    digest: bytes
    columns: dict[str, Any]
    """What rewards may read of the row."""

    @property
    def place(self) -> float:
        """Where the row stands in [0, 1): evenly spread, and decided by its content alone."""
        return int.from_bytes(self.digest[:7], "big") / 2**56


Unscorable = Callable[[Mapping[str, Any]], str | None]
"""Says of the columns that rewards read why no completion can be scored with them; None where one can."""


def no_rewards(columns: Mapping[str, Any]) -> None:
    """Say nothing against any row: no reward reads them."""


@dataclass
class Cleaner:
    """Makes examples of raw rows; remembers how many it dropped, and why."""

    dataset: Dataset
    rows: Rows
    steps: Sequence[Converter]
    unscorable: Unscorable = no_rewards
    """What rewards say against a row by the columns that they read."""
    known: frozenset[bytes] = frozenset()
    """Digests of test rows, which must not be trained on."""
    read: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    repeated: dict[str, int] = field(default_factory=dict)
    """Rows that were recognised as repeated but kept, because `deduplicate` is off."""
    parts: int = 0
    """Parts of messages that are no text (images, say), left out of the rows that were kept."""

    def clean(self, order: Iterable[int]) -> Iterator[Kept]:
        """Yield the usable ones among the rows with these numbers."""
        seen: set[bytes] = set()
        for number, row in self._rows(order):
            self.read += 1
            try:
                kept = self._make(number, row)
            except ValueError as error:
                known = str(error) in self.dropped or len(self.dropped) < MOST_REASONS
                self.drop(str(error) if known else "other reasons")
                continue
            if kept.digest in seen:
                reason = REPEATED
            elif kept.digest in self.known:
                reason = IN_TEST
            else:
                reason = None
            seen.add(kept.digest)
            if reason is None:
                self.parts += other_parts(row)
                yield kept
            elif self.dataset.config.deduplicate:
                self.drop(reason)
            else:
                self.repeated[reason] = self.repeated.get(reason, 0) + 1
                yield kept

    def again(self, numbers: Sequence[int]) -> list[Kept]:
        """Make rows that have been found usable once more."""
        return [self._make(number, row) for number, row in self._rows(numbers)]

    def _rows(self, order: Iterable[int]) -> Iterator[tuple[int, Row]]:
        """Yield rows with their numbers, with columns called as the dataset reads them."""
        rename = self.dataset.config.columns
        order = array("q", order)
        for number, raw in zip(order, self.rows.take(order), strict=True):
            renamed = {ours: raw[theirs] for ours, theirs in rename.items() if theirs in raw}
            yield number, {**raw, **renamed} if renamed else raw

    def _make(self, number: int, row: Row) -> Kept:
        for column in self.dataset.columns:
            if row.get(column) is None:
                raise ValueError(f"nothing in column '{column}'")
        native = with_system(self.dataset.example(row, f"{self.rows.split}/{number}"), self.dataset.config.system)
        reason = unusable(native)
        if reason:
            raise ValueError(reason)
        try:
            digest = hashlib.blake2b(self.dataset.key(native).encode(), digest_size=16).digest()
        except UnicodeEncodeError:
            raise ValueError("text that is not valid Unicode (half a surrogate pair)") from None
        examples = apply(self.steps, native)
        columns = self.dataset.reward_columns(row)
        made = with_columns(examples, columns) if self.steps else examples
        reason = self.unscorable({**columns, **next((one.columns for one in made if isinstance(one, Prompt)), {})})
        if reason:
            raise ValueError(reason)
        return Kept(number, native, made, digest, columns)

    def drop(self, reason: str) -> None:
        """Count a row that is left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


def require_columns(dataset: Dataset, where: str, present: Iterable[str]) -> None:
    """Raise DataError when a required column is not there at all; `present` names those of one row."""
    here = list(present)
    rename = dataset.config.columns
    for ours, theirs in rename.items():
        if theirs not in here:
            what = f"there is no column '{theirs}' in {where}"
            raise DataError(f"dataset.columns.{ours}", what, guess(theirs, here))
    missing = [column for column in dataset.columns if column not in here and column not in rename]
    if missing:
        names = ", ".join(f"'{column}'" for column in missing)
        what = f"{dataset.config.name} needs the column{'s'[: len(missing) - 1]} {names}: not there"
        fix = f"if it is called otherwise, say +dataset.columns.{missing[0]}=NAME; {guess(missing[0], here)}"
        raise DataError(where, what, fix)


class Identity:
    """A hash of examples' exact content and order; ids do not count."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=8)

    def add(self, example: Example) -> None:
        """Go on with the next example."""
        self._digest.update(json.dumps(body(example), ensure_ascii=False, default=str).encode())
        self._digest.update(b"\n")

    @property
    def text(self) -> str:
        """The hash so far (16 hex digits)."""
        return self._digest.hexdigest()
