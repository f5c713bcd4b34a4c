"""From what columns hold to the messages of an example: OpenAI's, ShareGPT's and plain text become one shape.

Every function raises ValueError in general words for what it cannot use: `clean` counts rows by them.
"""

from __future__ import annotations

from typing import Any

from rlpipe.datasets.base import Row
from rlpipe.datasets.calls import as_calls, spoken_calls, with_ids
from rlpipe.datasets.forms import Message

ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "function_call": "assistant",
}
"""What datasets call the roles, and what chat templates do."""
SHAREGPT: dict[Any, str] = {"from": "role", "value": "content"}
CALLS = ("tool_calls", "function_call")
PLAIN = ("system", "user", "assistant")
NO_TEXT = "a message whose content is not text"


def as_messages(value: Any, role: str) -> list[Message]:
    """Return messages: a list of them (or a lone one) is checked and made alike, text becomes one message of `role`.

    `from` and `value` are read as `role` and `content`, roles by `ROLES`, parts of text as their text, calls of tools
    as `calls.as_calls` does. A number is taken as its text. What a template reads beside (a name, reasoning) stays.
    """
    if isinstance(value, str) or is_number(value):
        return [{"role": role, "content": str(value)}]
    messages = [value] if isinstance(value, dict) else value
    if not isinstance(messages, list):
        raise ValueError("neither text nor a list of messages")
    made = [_message(message) for message in messages]
    return with_ids(made) if any(len(message) > 2 for message in made) else made


def _message(message: Any) -> Message:
    plain = isinstance(message, dict) and len(message) == 2 and message.get("role") in PLAIN
    if plain and isinstance(message.get("content"), str):
        return dict(message)  # as almost all are
    named = _named(message)
    if named is None:
        raise ValueError("a message without role and content")
    called, content = named["role"], named["content"]
    role = ROLES.get(called) if isinstance(called, str) else None
    if role is None:
        raise ValueError("a message of an unknown role")
    calls = spoken_calls(content) if called == "function_call" else as_calls(named)
    text = "" if called == "function_call" else _text(content, calls)
    # Tables give every message the keys of all others, filled with nothing.
    kept = {key: value for key, value in named.items() if value is not None and key not in CALLS}
    return {**kept, "role": role, "content": text, **({"tool_calls": calls} if calls else {})}


def _named(message: Any) -> dict[str, Any] | None:
    """Return a message with `role` and `content` by these names; None for what is no message."""
    if not isinstance(message, dict):
        return None
    named: dict[str, Any] = {SHAREGPT.get(key) or key: value for key, value in message.items()}
    calls = named.get("tool_calls") or named.get("function_call")
    if "content" not in named and calls:
        named["content"] = None
    return named if "role" in named and "content" in named else None


def _text(content: Any, calls: list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    if is_number(content):
        return str(content)
    if content is None and calls:
        return ""
    texts = [text for part in content if (text := _part(part)) is not None] if isinstance(content, list) else []
    if not texts:
        raise ValueError(NO_TEXT)
    return "".join(texts)


def _part(part: Any) -> str | None:
    """Return the text of a part of a message's content, None for an image or whatever else."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) and str(part.get("type", "text")).endswith("text") else None
    return text if isinstance(text, str) else None


def other_parts(row: Row) -> int:
    """Count the parts of messages in a raw row that are no text, and so are left out."""
    columns = (
        value if isinstance(value, list) else [value] for value in row.values() if isinstance(value, list | dict)
    )
    messages = (message for column in columns for message in column if isinstance(message, dict))
    contents = (message.get("content", message.get("value")) for message in messages)
    return sum(_part(part) is None for parts in contents if isinstance(parts, list) for part in parts)


def is_number(value: Any) -> bool:
    """Return whether a column holds a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_pair(prompt: Any, chosen: Any, rejected: Any) -> tuple[list[Message], list[Message], list[Message]]:
    """Return (prompt, chosen, rejected) as messages.

    Three layouts are read: completions as text or messages beside a `prompt`, and two whole
    conversations whose common beginning is the prompt (the column `prompt` then says nothing new).
    """
    better, worse = as_messages(chosen, "assistant"), as_messages(rejected, "assistant")
    if isinstance(chosen, list) and isinstance(rejected, list):
        shared = _shared(better, worse)
        if shared:
            return better[:shared], better[shared:], worse[shared:]
    if prompt is None:
        raise ValueError("no prompt: neither a column 'prompt' nor conversations with a common beginning")
    return as_messages(prompt, "user"), better, worse


def _shared(better: list[Message], worse: list[Message]) -> int:
    """Count the messages that two conversations begin with; at least one stays for each as its completion."""
    longest = min(len(better), len(worse)) - 1
    for number in range(longest):
        if better[number] != worse[number]:
            return number
    return max(longest, 0)
