"""The forms that examples come in, and how one form is made from another.

A dataset has one native form; a method takes some forms, the one that it likes best first. `route`
finds how the rows get from one to the other. Messages are `{"role": …, "content": …}` as in every
chat template; a prompt ends with a user (or tool) turn, a completion holds what the model says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """The base of every form."""

    id: str
    """Names the row for ever: `<split>/<row number in its source>`, then `.n` where one row gave several."""
    tools: list[dict[str, Any]] = field(default_factory=list, kw_only=True)
    """The functions that the row itself offers, as chat templates take them; empty for most."""


@dataclass(frozen=True)
class Chat(Example):
    """A whole conversation."""

    messages: list[Message]


@dataclass(frozen=True)
class Completion(Example):
    """A prompt and what the model should say to it."""

    prompt: list[Message]
    completion: list[Message]


@dataclass(frozen=True)
class Preference(Example):
    """A prompt with a better and a worse completion."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


@dataclass(frozen=True)
class Labelled(Example):
    """A prompt and a completion that is good (True) or bad (False)."""

    prompt: list[Message]
    completion: list[Message]
    label: bool


@dataclass(frozen=True)
class Choice(Example):
    """A question with several answers of which one is right (`answer` counts from 0)."""

    prompt: list[Message]
    choices: list[str]
    answer: int


@dataclass(frozen=True)
class Prompt(Example):
    """A prompt alone, with the columns that a reward or verifier reads."""

    prompt: list[Message]
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Text(Example):
    """Plain text without roles."""

    text: str


Form = type[Example]
Converter = Callable[[Example], list[Example]]


def form_name(form: Form) -> str:
    """Return a form's name as configs and reports write it."""
    return form.__name__.lower()


def text_of(messages: Sequence[Message]) -> str:
    """Return the contents of messages as one text."""
    return "\n\n".join(str(message.get("content") or "") for message in messages)


def content(example: Example) -> str:
    """Return everything an example says, in one string; ids and the amount of white space do not count."""
    parts: list[str] = []
    for name, value in body(example).items():
        parts.append(name)
        _flatten(value, parts)
    return "\x1f".join(parts)


def body(example: Example) -> dict[str, Any]:
    """Return what an example says: all fields but the id, and `tools` only where there are any."""
    return {name: value for name, value in vars(example).items() if name != "id" and (name != "tools" or value)}


def _flatten(value: Any, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(" ".join(value.split()))
    elif isinstance(value, dict):
        parts.append("{")
        for name, inner in value.items():
            parts.append(name)
            _flatten(inner, parts)
        parts.append("}")
    elif isinstance(value, list | tuple):
        parts.append("[")
        for inner in value:
            _flatten(inner, parts)
        parts.append("]")
    else:
        parts.append(repr(value))


def _say(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def preference_to_completion(example: Preference) -> list[Example]:
    """Keep the chosen completion."""
    return [Completion(example.id, example.prompt, example.chosen, tools=example.tools)]


def preference_to_labelled(example: Preference) -> list[Example]:
    """Give the chosen completion as a good example (`.0`) and the rejected one as a bad one (`.1`)."""
    return [
        Labelled(f"{example.id}.0", example.prompt, example.chosen, True, tools=example.tools),
        Labelled(f"{example.id}.1", example.prompt, example.rejected, False, tools=example.tools),
    ]


def preference_to_prompt(example: Preference) -> list[Example]:
    """Keep the prompt; the column `reference` holds the chosen completion's text."""
    return [Prompt(example.id, example.prompt, {"reference": text_of(example.chosen)}, tools=example.tools)]


def completion_to_chat(example: Completion) -> list[Example]:
    """Join prompt and completion into one conversation."""
    return [Chat(example.id, [*example.prompt, *example.completion], tools=example.tools)]


def completion_to_prompt(example: Completion) -> list[Example]:
    """Keep the prompt; the column `reference` holds the completion's text."""
    return [Prompt(example.id, example.prompt, {"reference": text_of(example.completion)}, tools=example.tools)]


def chat_to_completion(example: Chat) -> list[Example]:
    """Split a conversation before its last assistant turn; what follows that turn is left out.

    Raises ValueError where no such turn exists or nothing stands before it.
    """
    return [Completion(example.id, *split_last(example.messages), tools=example.tools)]


def split_last(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """Split a conversation into what stands before its last assistant turn, and that turn. Raises ValueError."""
    turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        raise ValueError("no assistant turn")
    if turns[-1] == 0:
        raise ValueError("nothing before the last assistant turn")
    return messages[: turns[-1]], messages[turns[-1] : turns[-1] + 1]


def choice_to_preference(example: Choice) -> list[Example]:
    """Set the right choice against each wrong one (`.0`, `.1` … where there are several)."""
    wrong = [text for number, text in enumerate(example.choices) if number != example.answer]
    ids = [example.id] if len(wrong) == 1 else [f"{example.id}.{number}" for number in range(len(wrong))]
    right = example.choices[example.answer]
    return [Preference(id, example.prompt, _say(right), _say(text)) for id, text in zip(ids, wrong, strict=True)]


def choice_to_completion(example: Choice) -> list[Example]:
    """Take the right choice as the completion."""
    return [Completion(example.id, example.prompt, _say(example.choices[example.answer]))]


def choice_to_prompt(example: Choice) -> list[Example]:
    """Keep the prompt; the column `reference` holds the right choice."""
    return [Prompt(example.id, example.prompt, {"reference": example.choices[example.answer]})]


def labelled_to_prompt(example: Labelled) -> list[Example]:
    """Keep the prompt."""
    return [Prompt(example.id, example.prompt, tools=example.tools)]


# Text is missing on purpose: turning a conversation into plain text needs a chat template, which is the model's.
CONVERTERS: dict[tuple[Form, Form], Callable[[Any], list[Example]]] = {
    (Preference, Completion): preference_to_completion,
    (Preference, Labelled): preference_to_labelled,
    (Preference, Prompt): preference_to_prompt,
    (Completion, Chat): completion_to_chat,
    (Completion, Prompt): completion_to_prompt,
    (Chat, Completion): chat_to_completion,
    (Choice, Preference): choice_to_preference,
    (Choice, Completion): choice_to_completion,
    (Choice, Prompt): choice_to_prompt,
    (Labelled, Prompt): labelled_to_prompt,
}
"""Every step from one form to another; `route` joins them."""


def route(native: Form, takes: tuple[Form, ...]) -> tuple[Form, list[Converter]] | None:
    """Find the form in which examples of `native` reach someone who `takes` certain forms, and the steps to it.

    The fewest steps win (none at all where `native` itself is taken); among equals, the form that
    `takes` lists first. None where no way leads there.
    """
    ways = ways_from(native)
    reached = [form for form in takes if form in ways]
    if not reached:
        return None
    best = min(reached, key=lambda form: (len(ways[form]), takes.index(form)))
    forms = [native, *ways[best]]
    return best, [CONVERTERS[pair] for pair in pairwise(forms)]


def ways_from(native: Form) -> dict[Form, list[Form]]:
    """Return every form that `native` can be turned into, with the forms on the shortest way to it (it included)."""
    ways: dict[Form, list[Form]] = {native: []}
    frontier = [native]
    while frontier:
        here = frontier.pop(0)
        for start, end in CONVERTERS:
            if start is here and end not in ways:
                ways[end] = [*ways[here], end]
                frontier.append(end)
    return ways


def apply(steps: Iterable[Converter], example: Example) -> list[Example]:
    """Send an example through converters, one after another."""
    examples = [example]
    for step in steps:
        examples = [made for one in examples for made in step(one)]
    return examples


def with_columns(examples: Sequence[Example], columns: dict[str, Any]) -> list[Example]:
    """Give prompts that were made from another form further columns of their row; leave other forms as they are."""
    return [replace(one, columns={**one.columns, **columns}) if isinstance(one, Prompt) else one for one in examples]
