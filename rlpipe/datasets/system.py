"""System messages, for models whose chat template refuses them: kept, folded into a user turn, or dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rlpipe.config.kinds import SystemMessages
from rlpipe.datasets.forms import Example, Message

SYSTEM = ("system", "developer")


def with_system(example: Example, wanted: SystemMessages) -> Example:
    """Return an example whose conversation or prompt has its system messages as wanted. Raises ValueError."""
    if wanted is SystemMessages.keep:
        return example
    here: dict[str, Any] = {name: getattr(example, name) for name in ("messages", "prompt") if hasattr(example, name)}
    changed: dict[str, Any] = {name: change(messages, wanted) for name, messages in here.items()}
    return replace(example, **changed)


def change(messages: list[Message], wanted: SystemMessages) -> list[Message]:
    """Drop system messages, or put each before the text of the user turn that follows it, a blank line between.

    Raises ValueError where no user turn follows.
    """
    changed: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] in SYSTEM:
            waiting.append(message["content"])
        elif message["role"] == "user" and waiting and wanted is SystemMessages.fold:
            changed.append({**message, "content": "\n\n".join([*waiting, message["content"]])})
            waiting = []
        else:
            changed.append(message)
    if waiting and wanted is SystemMessages.fold:
        raise ValueError("a system message and no user turn after it to fold it into")
    return changed
