"""Where in a conversation's text the assistant's turns stand, for chat templates that do not mark them.

What is trained of a turn is what the model would write after the header that opens it, its end of turn included, as the
template shows that turn within the whole conversation. Where a template leaves the reasoning of earlier turns out, or
writes the system message into the last user turn, earlier turns are therefore trained without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.core.errors import ModelError
from rlpipe.datasets.forms import Message
from rlpipe.models.layout import Tools, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
USER, ASSISTANT = "\ue000q\ue001", "\ue002a\ue003"
"""Texts of characters for private use: no template and hardly a conversation contains or begins with them."""


def spoken_spans(
    conversations: Sequence[list[Message]],
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    tools: Sequence[Tools],
    ids: Sequence[str],
) -> list[list[Span]]:
    """Return the places of the assistant's turns in the text of each conversation, turn by turn.

    Raises ModelError for a template of which nobody can tell.
    """
    turns = [
        (row, turn)
        for row, messages in enumerate(conversations)
        for turn, message in enumerate(messages)
        if message["role"] == "assistant" and message.get("weight") != 0
    ]
    later = [(row, turn) for row, turn in turns if turn > 0]  # nothing stands before the very first message
    functions, names = [tools[row] for row, _ in later], [ids[row] for row, _ in later]
    before = render([conversations[row][:turn] for row, turn in later], tokenizer, True, functions, names)
    upto = render([conversations[row][: turn + 1] for row, turn in later], tokenizer, False, functions, names)
    grown = dict(zip(later, zip(before, upto, strict=True), strict=True))
    frame = Frame.of(tokenizer) if turns else None
    spans: list[list[Span]] = [[] for _ in conversations]
    for row, turn in turns:
        assert frame is not None
        found = frame.growing(texts[row], *grown[row, turn]) if turn > 0 else None
        if found is None:
            changed = _changed(conversations[row], turn)
            (probe,) = render([changed], tokenizer, False, [tools[row]], [ids[row]])
            found = frame.differing(texts[row], probe, str(tokenizer.eos_token or ""))
        if found is None:
            what = f"the chat template shows turn {turn} so that what the assistant wrote in it cannot be found"
            fix = "put {% generation %} … {% endgeneration %} around it in the template (model.chat_template), or "
            raise ModelError(f"example {ids[row]}", what, fix + "train on everything (method.train_on=conversation)")
        spans[row].append(found)
    return spans


def _changed(messages: list[Message], turn: int) -> list[Message]:
    """Return a conversation in which the assistant says something else in one turn, or calls something else."""
    message = messages[turn]
    other: Message = {"role": "assistant", "content": ASSISTANT}
    if message.get("tool_calls"):
        calls = [{**call, "function": {**call["function"], "name": ASSISTANT}} for call in message["tool_calls"]]
        other = {**message, "tool_calls": calls}
    return [*messages[:turn], other, *messages[turn + 1 :]]


@dataclass(frozen=True)
class Frame:
    """What stands around an assistant's turn."""

    opening: str
    """What opens a turn that the model is asked for; it may go on to `<think>`, which the model then need not write."""
    within: str
    """What opens a turn within a conversation."""
    lead: str
    """What the template itself puts before the assistant's words: a space, an empty thought."""
    tail: str
    """What ends a turn."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Frame:
        """Read it off the template."""
        user: list[Message] = [{"role": "user", "content": USER}]
        (bare,) = render([user], tokenizer)
        (opened,) = render([user], tokenizer, header=True)
        (whole,) = render([[*user, {"role": "assistant", "content": ASSISTANT}]], tokenizer)
        start = common_start(bare, opened)
        within = opened[start : max(start, common_start(opened, whole))]
        before, _, tail = whole.rpartition(ASSISTANT)
        return cls(opened[start:], within, before[start + len(within) :], tail)

    def growing(self, text: str, before: str, end: str) -> Span | None:
        """Return what a turn adds to the text before it, where the text of a conversation grows turn by turn."""
        if not text.startswith(end):
            return None
        if end.startswith(before):
            return len(before), len(end)
        inner = before.removesuffix(self.opening) + self.within
        return (len(inner), len(end)) if before.endswith(self.opening) and end.startswith(inner) else None

    def differing(self, text: str, probe: str, closed: str) -> Span | None:
        """Return what changes as a turn does, from its header to its end: all of the tail, or `closed` alone."""
        begin = common_start(text, probe)
        header = text.rfind(self.within, 0, begin)
        if begin == min(len(text), len(probe)) or header < 0:
            return None
        led = text.endswith(self.within + self.lead, 0, begin)
        end = len(text) - common_start(text[begin:][::-1], probe[begin:][::-1])
        ends = [(text.find(mark, end), -len(mark)) for mark in (self.tail, closed) if mark and mark in text[end:]]
        if ends:
            place, length = min(ends)
            end = place - length
        return begin - len(self.lead) if led else header + len(self.within), end


def common_start(one: str, other: str) -> int:
    """Count the characters that two texts have in common from the start."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle)
    return low
