"""Calls of tools in rows of data, as chat templates take them: arguments are objects, every call has an id.

OpenAI writes arguments as a string of JSON, which a template would encode a second time; older data has one
`function_call` a turn, ShareGPT a turn of its own. Raises ValueError in general words, as `messages` does.
"""

from __future__ import annotations

import json
from typing import Any

from rlpipe.datasets.forms import Message

NO_OBJECT = "a tool call whose arguments are no JSON object"


def as_calls(message: Message) -> list[dict[str, Any]]:
    """Return the calls of a message; none where it makes none."""
    calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    if not isinstance(calls, list):
        raise ValueError("tool_calls is no list")
    return [_call(call) for call in calls]


def spoken_calls(content: Any) -> list[dict[str, Any]]:
    """Return the calls that a ShareGPT turn from `function_call` consists of: one as JSON, or a list of them."""
    found = _json(content, "a function_call that is no JSON") if isinstance(content, str) else content
    return [_call(call) for call in (found if isinstance(found, list) else [found])]


def _call(call: Any) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise ValueError("a tool call that is no object")
    function = call.get("function") or call
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError("a tool call that names no function")
    named = {"id": call["id"]} if call.get("id") else {}
    return {**named, "type": "function", "function": {"name": name, "arguments": _arguments(function.get("arguments"))}}


def _arguments(value: Any) -> dict[str, Any]:
    found = _json(value, NO_OBJECT) if isinstance(value, str) and value.strip() else (value or {})
    if not isinstance(found, dict):
        raise ValueError(NO_OBJECT)
    # Of an object in a table nobody can tell whether a null was meant or fills a column; a string is exact.
    return found if isinstance(value, str) else _filled(found)


def with_ids(messages: list[Message]) -> list[Message]:
    """Give calls without an id one, and results without a call's id that of the first call that waits for a result."""
    waiting: list[str] = []
    made = 0
    for message in messages:
        for call in message.get("tool_calls", ()):
            made += 1
            call.setdefault(
                "id", f"call{made:05d}"
            )  # nine letters and digits, which is what Mistral's templates ask for
            waiting.append(call["id"])
        if message["role"] == "tool" and waiting:
            id = message.setdefault("tool_call_id", waiting[0])
            waiting.remove(id if id in waiting else waiting[0])
    return messages


def as_tools(value: Any) -> list[dict[str, Any]]:
    """Return the tools that a row offers: a list of functions, bare or as OpenAI wraps them, or JSON of one."""
    found = _json(value, "tools that are no JSON") if isinstance(value, str) and value.strip() else (value or [])
    if not isinstance(found, list):
        raise ValueError("tools is no list")
    return [_tool(tool) for tool in found]


def _tool(tool: Any) -> dict[str, Any]:
    found = _json(tool, "tools that are no JSON") if isinstance(tool, str) else tool
    function = found.get("function", found) if isinstance(found, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError("a tool that names no function")
    whole: dict[str, Any] = _filled(found if "function" in found else {"type": "function", "function": found})
    return whole


def _json(text: str, why: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(why) from None


def _filled(value: Any) -> Any:
    """Leave out what a table filled with nothing."""
    if isinstance(value, dict):
        return {key: _filled(inner) for key, inner in value.items() if inner is not None}
    return [_filled(inner) for inner in value] if isinstance(value, list) else value
