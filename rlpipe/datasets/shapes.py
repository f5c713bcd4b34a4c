"""The shapes that rows come in: which columns tell one, and what example a row of it gives.

To add a shape, add a line to `SHAPES`. A file's shape is the first one whose columns it all has, so what says more
about a row stands before what says less. Readers raise ValueError in general words for a row that cannot be used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from rlpipe.datasets.base import Row
from rlpipe.datasets.calls import as_tools
from rlpipe.datasets.forms import (
    Chat,
    Choice,
    Completion,
    Example,
    Form,
    Labelled,
    Message,
    Preference,
    Prompt,
    Text,
    split_last,
)
from rlpipe.datasets.messages import as_messages, as_pair
from rlpipe.datasets.ratings import best_and_worst


class FormName(Enum):
    """The forms that rows may have."""

    auto = "auto"
    """Whatever the columns of a local file say; `completion` for rows of the hub, which are not seen before the run."""
    chat = "chat"
    """`messages`, or ShareGPT's `conversations`."""
    completion = "completion"
    """`prompt` and `completion` (or `response`, `answer`), `question` and `answer`, or Alpaca's `instruction`, `input`
    and `output`."""
    preference = "preference"
    """`chosen` and `rejected`, with `prompt` (or `question`, or `conversations`) unless both are whole conversations;
    or UltraFeedback's `instruction` and rated `completions`, of which the best is set against the worst by the mean of
    their ratings."""
    labelled = "labelled"
    """`prompt`, `completion` and `label` (true or false), or `messages` and `label`."""
    choice = "choice"
    """`prompt`, `choices` (a list) and `answer` (the right one's number, from 0)."""
    prompt = "prompt"
    """`prompt`; rewards may read all other columns."""
    text = "text"
    """`text`."""


Reader = Callable[[Row, str], Example]


@dataclass(frozen=True)
class Shape:
    """One shape of rows."""

    title: str
    form: FormName
    columns: tuple[str, ...]
    """The columns that a row must have, the prompt's first."""
    read: Reader

    def example(self, row: Row, id: str) -> Example:
        """Read a row, with the tools that it offers."""
        made = self.read(row, id)
        tools = [] if isinstance(made, Text | Choice) else as_tools(row.get("tools"))
        return replace(made, tools=tools) if tools else made

    def for_rewards(self, row: Row) -> dict[str, Any]:
        """Return the columns of a row that do not belong to the shape, and what a verifier compares with."""
        used = {*self.columns, "prompt"} - ({"answer"} if self.form is FormName.completion else set())
        return {name: value for name, value in row.items() if name not in used}


def _prompt_in(row: Row, column: str) -> list[Message]:
    """Return the prompt in a column, with the row's `system` (or `system_prompt`) before it."""
    return _with_system(row, as_messages(row[column], "user"))


def _with_system(row: Row, messages: list[Message]) -> list[Message]:
    system = row.get("system") or row.get("system_prompt")
    if not isinstance(system, str) or not system.strip() or (messages and messages[0]["role"] == "system"):
        return messages
    return [{"role": "system", "content": system}, *messages]


def _chat(column: str) -> Reader:
    return lambda row, id: Chat(id, _with_system(row, as_messages(row[column], "user")))


def _completion(prompt: str, answer: str) -> Reader:
    return lambda row, id: Completion(id, _prompt_in(row, prompt), as_messages(row[answer], "assistant"))


def _alpaca(row: Row, id: str) -> Example:
    """Put `input` under `instruction`, and the turns of `history` (pairs of texts) before both."""
    parts = [row["instruction"], row.get("input")]
    if not all(isinstance(text, str | None) for text in parts):
        raise ValueError("instruction or input is not text")
    before: list[Message] = []
    for pair in row.get("history") or []:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise ValueError("history is no list of pairs")
        before += as_messages(pair[0], "user") + as_messages(pair[1], "assistant")
    text = "\n\n".join(text for text in parts if text and text.strip())
    prompt = _with_system(row, [*before, {"role": "user", "content": text}])
    return Completion(id, prompt, as_messages(row["output"], "assistant"))


def _pair(row: Row, id: str) -> Example:
    prompts = (row[name] for name in ("conversations", *PROMPTS) if row.get(name) is not None)
    prompt, better, worse = as_pair(next(prompts, None), row["chosen"], row["rejected"])
    return Preference(id, _with_system(row, prompt), better, worse)


def _rated(row: Row, id: str) -> Example:
    better, worse = best_and_worst(row["completions"])
    return Preference(
        id, _prompt_in(row, "instruction"), as_messages(better, "assistant"), as_messages(worse, "assistant")
    )


def _labelled(row: Row, id: str) -> Example:
    completion = as_messages(row["completion"], "assistant")
    return Labelled(id, _prompt_in(row, "prompt"), completion, _boolean(row["label"]))


def _labelled_chat(column: str) -> Reader:
    def read(row: Row, id: str) -> Example:
        prompt, completion = split_last(as_messages(row[column], "user"))
        return Labelled(id, _with_system(row, prompt), completion, _boolean(row["label"]))

    return read


def _choice(row: Row, id: str) -> Example:
    return Choice(id, as_messages(row["prompt"], "user"), *_choices(row["choices"], row["answer"]))


def _prompt(row: Row, id: str) -> Example:
    return Prompt(id, _prompt_in(row, "prompt"), {name: value for name, value in row.items() if name != "prompt"})


def _text(row: Row, id: str) -> Example:
    if not isinstance(row["text"], str):
        raise ValueError("text is not a string")
    return Text(id, row["text"])


def _boolean(value: Any) -> bool:
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    label = known.get(str(value).strip().lower())
    if label is None:
        raise ValueError("label is neither true nor false")
    return label


def _choices(choices: Any, answer: Any) -> tuple[list[str], int]:
    if not isinstance(choices, list) or not all(isinstance(text, str) for text in choices):
        raise ValueError("choices is no list of texts")
    try:
        return choices, int(answer)
    except (TypeError, ValueError):
        raise ValueError("answer is no whole number") from None


PROMPTS = ("prompt", "question", "instruction")
"""What the column is called that holds the prompt, in this order."""
ANSWERS = ("completion", "response", "answer")
"""What the column is called that holds the answer, in this order."""

SHAPES = (
    Shape("pairs", FormName.preference, ("chosen", "rejected"), _pair),
    Shape("UltraFeedback's rated completions", FormName.preference, ("instruction", "completions"), _rated),
    Shape("labelled completions", FormName.labelled, ("prompt", "completion", "label"), _labelled),
    Shape("labelled conversations", FormName.labelled, ("messages", "label"), _labelled_chat("messages")),
    Shape(
        "labelled ShareGPT conversations",
        FormName.labelled,
        ("conversations", "label"),
        _labelled_chat("conversations"),
    ),
    Shape("multiple choice", FormName.choice, ("prompt", "choices", "answer"), _choice),
    Shape("conversations", FormName.chat, ("messages",), _chat("messages")),
    Shape("ShareGPT conversations", FormName.chat, ("conversations",), _chat("conversations")),
    *(
        Shape(f"{prompt} and {answer}", FormName.completion, (prompt, answer), _completion(prompt, answer))
        for prompt in PROMPTS
        for answer in ANSWERS
    ),
    Shape("Alpaca's instructions", FormName.completion, ("instruction", "output"), _alpaca),
    Shape("prompts", FormName.prompt, ("prompt",), _prompt),
    Shape("plain text", FormName.text, ("text",), _text),
)
"""In the order in which they are looked for; the first of each form is what its rows are usually like."""

FORMS: dict[FormName, Form] = {
    FormName.chat: Chat,
    FormName.completion: Completion,
    FormName.preference: Preference,
    FormName.labelled: Labelled,
    FormName.choice: Choice,
    FormName.prompt: Prompt,
    FormName.text: Text,
}


def recognise(columns: Collection[str], form: FormName = FormName.auto) -> Shape | None:
    """Return the shape, of one form or of any (`auto`), whose columns are all there; None where none is."""
    shapes = (shape for shape in SHAPES if form in (FormName.auto, shape.form))
    return next((shape for shape in shapes if all(column in columns for column in shape.columns)), None)


def usual(form: FormName) -> Shape:
    """Return the shape that rows of a form usually have; of `auto`, prompts with completions."""
    wanted = FormName.completion if form is FormName.auto else form
    return next(shape for shape in SHAPES if shape.form is wanted)
