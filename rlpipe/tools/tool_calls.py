"""Worked solutions as traces with real tool calls: what they do by hand, a tool does (`dataset=warmstart tool=…`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlpipe.datasets.base import Split
from rlpipe.datasets.forms import Completion, Example, Message
from rlpipe.tools.base import Tool
from rlpipe.tools.run import Call, Runner


def with_calls(split: Split, tools: Sequence[Tool]) -> Split:
    """Turn the completions of a split into turns that call tools, where there is something to call them for.

    Every call is run, and what the model is shown is what the tool really returns. A completion makes no more calls
    than a tool allows; what comes after stays as it is. Examples of other forms stay as they are.
    """
    runner = Runner(tools)
    examples: list[Example] = []
    calls = []
    for example in split.examples:
        if isinstance(example, Completion):
            example = replace(example, completion=_turns(example.completion, tools, runner))
            calls.append(sum(len(turn.get("tool_calls", ())) for turn in example.completion))
        examples.append(example)
    note = f"tool calls: {sum(calls)}, in {sum(count > 0 for count in calls)} of {len(examples)} examples"
    return replace(split, examples=examples, report=replace(split.report, notes=[*split.report.notes, note]))


def _turns(completion: list[Message], tools: Sequence[Tool], runner: Runner) -> list[Message]:
    """Split a text at the places where tools are called."""
    if len(completion) != 1 or not isinstance(completion[0].get("content"), str):
        return completion
    text, turns, done = completion[0]["content"], [], 0
    places = sorted(((place, tool) for tool in tools for place in tool.by_hand(text)), key=lambda one: one[0].start)
    made = dict.fromkeys(runner.tools, 0)
    kept = ""
    for place, tool in places:
        if place.start < done:
            continue
        kept += text[done : place.start]
        done = place.end
        if place.arguments is None or made[tool.name] >= tool.config.max_calls:
            continue
        result = runner.run(Call(tool.name, place.arguments), made[tool.name])
        made[tool.name] += 1
        function = {"name": tool.name, "arguments": place.arguments}
        turns.append(
            {
                "role": "assistant",
                "content": kept.rstrip(),
                "tool_calls": [{"type": "function", "function": function}],
            }
        )
        turns.append({"role": "tool", "name": tool.name, "content": result.text})
        kept = ""
    kept += text[done:]
    if not turns:
        return [{**completion[0], "content": kept}]
    return [*turns, {"role": "assistant", "content": kept}]
