"""What examples cannot teach: labels of one kind, pairs that length tells apart, one answer for every question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Chat, Choice, Completion, Example, Labelled, Preference, Prompt, text_of

FEWEST = 20
"""Of fewer examples a share says little."""
NEARLY = 0.98
"""A share from which on nearly all examples are alike."""
WHERE = "dataset"


def weaknesses(examples: Sequence[Example], native: Sequence[Example], verified: Collection[str] = ()) -> list[Problem]:
    """Return what training examples (of one form, made of those in their `native` form) cannot teach.

    `verified` are the columns by which a reward knows right completions. Fatal is only what leaves nothing to learn.
    """
    rule = _RULES.get(type(examples[0])) if examples else None
    found = list(rule(examples)) if rule else []
    if native and isinstance(native[0], Choice):
        found += _choices(native)
    if examples and isinstance(examples[0], Prompt) and verified:
        found += _verified(examples, sorted(verified))
    return found


def _labelled(examples: Sequence[Any]) -> Iterator[Problem]:
    good = sum(one.label for one in examples)
    bad = len(examples) - good
    kind, rare = ("true", "false") if good > bad else ("false", "true")
    if not good or not bad:
        what = f"the label is {kind} in all {len(examples)} rows, so nothing tells good completions from bad ones"
        yield Problem(WHERE, what, f"add rows whose label is {rare}, or train on the good ones alone with method=sft")
        return
    share = max(good, bad) / len(examples)
    if len(examples) >= FEWEST and share >= NEARLY:
        what = f"the label is {kind} in {_of(max(good, bad), len(examples))}"
        fix = "add rows of the other kind, or weigh them more (method.desirable_weight, method.undesirable_weight)"
        yield Problem(WHERE, what, fix, fatal=False)


def _pairs(examples: Sequence[Any]) -> Iterator[Problem]:
    if len(examples) < FEWEST:
        return
    longer = shorter = 0
    chosen, rejected = Majority(), Majority()
    for one in examples:
        better, worse = text_of(one.chosen), text_of(one.rejected)
        longer += len(better) > len(worse)
        shorter += len(better) < len(worse)
        chosen.add(_words(better))
        rejected.add(_words(worse))
    for word, count in (("longer", longer), ("shorter", shorter)):
        if count / len(examples) >= NEARLY:
            what = (
                f"the chosen completion is the {word} one in {_of(count, len(examples))}: length alone tells them apart"
            )
            fix = "add pairs in which it is not, or a method that normalises length (method=simpo)"
            yield Problem(WHERE, what, fix, fatal=False)
    yield from _same(chosen, (_words(text_of(one.chosen)) for one in examples), "chosen completion")
    yield from _same(rejected, (_words(text_of(one.rejected)) for one in examples), "rejected completion")


def _completions(examples: Sequence[Any]) -> Iterator[Problem]:
    def texts() -> Iterator[str]:
        return (_words(text_of(one.completion)) for one in examples)

    yield from _same(Majority(texts()), texts(), "completion")


def _chats(examples: Sequence[Any]) -> Iterator[Problem]:
    def texts() -> Iterator[str]:
        answers = ([one for one in chat.messages if one["role"] == "assistant"] for chat in examples)
        return (_words(text_of(said)) for said in answers)

    yield from _same(Majority(texts()), texts(), "answer")


def _words(text: str) -> str:
    return " ".join(text.split())


class Majority:
    """The only text that can be more than half of many, found without keeping them (Boyer and Moore, 1981)."""

    def __init__(self, texts: Iterable[str] = ()):
        self.text, self._lead, self.count = "", 0, 0
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Look at the next text."""
        self.count += 1
        if not self._lead:
            self.text = text
        self._lead += 1 if text == self.text else -1

    def nearly_all(self, texts: Iterable[str]) -> int:
        """Return how many of the texts are this one, where nearly all are, else 0.

        They are gone through again only where that can be: then the text leads all others together by so much.
        """
        if self.count < FEWEST or self._lead < (2 * NEARLY - 1) * self.count - 1:
            return 0
        count = sum(text == self.text for text in texts)
        return count if count / self.count >= NEARLY else 0


def _same(majority: Majority, texts: Iterable[str], name: str) -> Iterator[Problem]:
    if count := majority.nearly_all(texts):
        what = f"the {name} is the same text in {_of(count, majority.count)}: {majority.text!r:.60}"
        yield Problem(WHERE, what, "look whether the right column is read (dataset.columns)", fatal=False)


def _choices(native: Sequence[Any]) -> Iterator[Problem]:
    ((place, count),) = Counter(one.answer for one in native).most_common(1)
    if len(native) >= FEWEST and count / len(native) >= NEARLY:
        what = f"the right choice is number {place} (counted from 0) in {_of(count, len(native))}"
        yield Problem(WHERE, what, "look whether the column 'answer' says which choice is right", fatal=False)


def _verified(examples: Sequence[Any], columns: Sequence[str]) -> Iterator[Problem]:
    def values() -> Iterator[str]:
        return (repr([one.columns.get(name) for name in columns]) for one in examples)

    majority = Majority(values())
    if count := majority.nearly_all(values()):
        named = ", ".join(f"'{name}'" for name in columns)
        what = (
            f"what completions are verified by ({named}) is the same in {_of(count, len(examples))}: "
            f"{majority.text:.60}"
        )
        fix = "one completion is right for every prompt: look whether the right column is read (dataset.columns)"
        yield Problem(WHERE, what, fix, fatal=False)


def _of(count: int, all: int) -> str:
    return f"all {all} rows" if count == all else f"{count} of {all} rows ({count / all:.1%})"


_RULES: dict[type[Example], Callable[[Sequence[Any]], Iterator[Problem]]] = {
    Labelled: _labelled,
    Preference: _pairs,
    Completion: _completions,
    Chat: _chats,
}
