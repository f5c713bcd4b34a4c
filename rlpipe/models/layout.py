"""Conversations as text, by the chat template; what a template refuses is said of the row that it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import DataError
from rlpipe.datasets.forms import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tools = list[dict[str, Any]]
OWN = "model.chat_template=chatml"


def render(
    conversations: Sequence[list[Message]],
    tokenizer: PreTrainedTokenizerBase,
    header: bool = False,
    tools: Sequence[Tools] = (),
    ids: Sequence[str] = (),
) -> list[str]:
    """Lay conversations out as text; `header` opens the assistant's next turn.

    `tools` are the functions that each conversation offers, `ids` the examples' names for errors; both may be left
    out. Raises DataError, naming the example, where the template refuses one.
    """
    offered = list(tools) or [[] for _ in conversations]
    texts = [""] * len(conversations)
    for rows in alike(offered):
        part, functions = [conversations[row] for row in rows], offered[rows[0]]
        try:
            made = _template(part, functions, tokenizer, header)
        except template_errors() as error:
            raise _refused(part, [ids[row] for row in rows] if ids else [], functions, tokenizer, header) from error
        for row, text in zip(rows, made, strict=True):
            texts[row] = text
    return texts


def alike(tools: Sequence[Tools]) -> list[list[int]]:
    """Return the rows that offer the same tools together: a template is given those of all conversations at once."""
    groups: dict[str, list[int]] = {}
    for row, functions in enumerate(tools):
        groups.setdefault(json.dumps(functions) if functions else "", []).append(row)
    return list(groups.values())


def template_errors() -> tuple[type[Exception], ...]:
    """Return what a chat template may raise: its own words, and what Python says to a value that it does not expect."""
    from jinja2 import TemplateError

    return (TemplateError, TypeError, KeyError, ValueError, AttributeError, IndexError, ArithmeticError)


def _template(
    conversations: list[list[Message]], tools: Tools, tokenizer: PreTrainedTokenizerBase, header: bool
) -> list[str]:
    template: Any = tokenizer.apply_chat_template
    texts = template(conversations, tools=tools or None, tokenize=False, add_generation_prompt=header)
    return [str(text) for text in texts]


def check_calls(conversations: Sequence[list[Message]], texts: Sequence[str], ids: Sequence[str]) -> None:
    """Raise DataError where the text of a conversation lacks a call of a tool that is made in it.

    Templates that know no tools leave calls out without a word, and the model would learn to say nothing instead.
    """
    for messages, text, id in zip(conversations, texts, ids, strict=True):
        names = [call["function"]["name"] for message in messages for call in message.get("tool_calls", ())]
        missing = [name for name in names if name not in text and json.dumps(name)[1:-1] not in text]
        if missing:
            what = f"the chat template leaves its tool calls out ({missing[0]})"
            raise DataError(f"example {id}", what, f"use a template that writes them, such as {OWN}, or other rows")


def _refused(
    conversations: list[list[Message]], ids: list[str], tools: Tools, tokenizer: PreTrainedTokenizerBase, header: bool
) -> DataError:
    """Find the first conversation that the template refuses, and say what may help it."""
    for row, messages in enumerate(conversations):
        try:
            _template([messages], tools, tokenizer, header)
        except template_errors() as error:
            where = f"example {ids[row]}" if ids else "a conversation"
            message = str(error) if type(error).__module__.startswith("jinja2") else f"{type(error).__name__}: {error}"
            what = f"the chat template refuses it: {message} (roles: {', '.join(_roles(messages))})"
            return DataError(where, what, _fix(messages, tools, tokenizer, header))
    return DataError("", "the chat template refuses conversations together that it takes alone", f"set {OWN}")


def _fix(messages: list[Message], tools: Tools, tokenizer: PreTrainedTokenizerBase, header: bool) -> str:
    def takes(changed: list[Message], functions: Tools) -> bool:
        try:
            _template([changed], functions, tokenizer, header)
        except template_errors():
            return False
        return True

    without = [message for message in messages if message["role"] not in ("system", "developer")]
    if len(without) < len(messages) and takes(without, tools):
        return "set dataset.system=fold (into the first user turn) or dataset.system=drop"
    bare = [{"role": one["role"], "content": one["content"]} for one in messages if one["role"] != "tool"]
    if (tools or bare != messages) and takes(bare, []):
        return f"it does not take tool calls like these: use a template that does, such as {OWN}, or other rows"
    return f"fix or remove the row, or use another template, such as {OWN}"


def _roles(messages: Sequence[Message]) -> list[str]:
    return [message["role"] for message in messages[:8]] + (["…"] if len(messages) > 8 else [])
