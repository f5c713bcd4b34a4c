"""Running the calls that a model wrote: a bound on their number, a limit on their time, errors that it can read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rlpipe.core.errors import PluginError
from rlpipe.tools.base import Tool

LONGEST_RESULT = 1000
"""Characters of a result that the model gets to read."""
MOST_ABANDONED = 8
"""Calls that may still be running after their time; with one more the run ends."""


@dataclass(frozen=True)
class Call:
    """A call as the model wrote it; `error` says what is wrong with the writing itself."""

    name: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Result:
    """What came of a call: the text for the model to read."""

    text: str
    failed: bool = False


def error(message: str) -> Result:
    """Return a failure as the model reads it."""
    return Result(f"error: {message}"[:LONGEST_RESULT], failed=True)


class Runner:
    """The tools of a run."""

    def __init__(self, tools: Sequence[Tool]):
        self.tools = {tool.name: tool for tool in tools}
        self._abandoned: list[threading.Thread] = []

    def run(self, call: Call, before: int) -> Result:
        """Run a call; `before` is how often its completion called this tool before.

        Raises PluginError for a tool that keeps hanging, or that does not return text.
        """
        if call.error is not None:
            return error(call.error)
        tool = self.tools.get(call.name)
        if tool is None:
            return error(f"there is no such tool; there is: {', '.join(sorted(self.tools))}")
        if before >= tool.config.max_calls:
            return error(f"no more calls: {tool.config.max_calls} were made")
        return self._timed(tool, call.arguments)

    def _timed(self, tool: Tool, arguments: dict[str, Any]) -> Result:
        outcome: list[Result | PluginError] = []
        thread = threading.Thread(target=_run, args=(tool, arguments, outcome), daemon=True, name=f"tool {tool.name}")
        thread.start()
        thread.join(tool.config.timeout)
        if outcome:
            if isinstance(outcome[0], PluginError):
                raise outcome[0]
            return outcome[0]
        self._abandoned = [one for one in (*self._abandoned, thread) if one.is_alive()]
        if len(self._abandoned) > MOST_ABANDONED:
            raise PluginError(
                f"tool.{tool.config.name}",
                (
                    f"{len(self._abandoned)} calls are still running after {tool.config.timeout:g} s each; a call "
                    "cannot be stopped from outside"
                ),
                f"let the tool limit its own time, or raise tool.{tool.config.name}.timeout",
            )
        return error(f"the call took more than {tool.config.timeout:g} s")


def _run(tool: Tool, arguments: dict[str, Any], outcome: list[Result | PluginError]) -> None:
    """Run a call in a thread of its own and leave its outcome in the list."""
    try:
        text = tool.call(arguments)
    except ValueError as wrong:
        outcome.append(error(str(wrong) or "these arguments cannot be used"))
    except Exception as wrong:
        outcome.append(error(f"{type(wrong).__name__}: {wrong}"))
    else:
        if isinstance(text, str):
            outcome.append(Result(text[:LONGEST_RESULT]))
        else:
            what = f"tool={tool.config.name} returned {type(text).__name__} instead of text"
            outcome.append(PluginError("", what, "fix the tool's `call`"))
