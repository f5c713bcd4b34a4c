"""Anyone's own rows: JSON lines, JSON, CSV, Parquet or a hub id, with a map of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Chat, Choice, Completion, Example, Form, Labelled, Preference, Prompt, Text
from rlpipe.datasets.messages import as_messages, as_pair


class FormName(Enum):
    """The forms that rows may have."""

    chat = "chat"
    """`messages`."""
    completion = "completion"
    """`prompt` and `completion`."""
    preference = "preference"
    """`chosen` and `rejected`, with `prompt` unless both are whole conversations."""
    labelled = "labelled"
    """`prompt`, `completion` and `label` (true or false)."""
    choice = "choice"
    """`prompt`, `choices` (a list) and `answer` (the right one's number, from 0)."""
    prompt = "prompt"
    """`prompt`; rewards may read all other columns."""
    text = "text"
    """`text`."""


FORMS: dict[FormName, tuple[Form, tuple[str, ...]]] = {
    FormName.chat: (Chat, ("messages",)),
    FormName.completion: (Completion, ("prompt", "completion")),
    FormName.preference: (Preference, ("chosen", "rejected")),
    FormName.labelled: (Labelled, ("prompt", "completion", "label")),
    FormName.choice: (Choice, ("prompt", "choices", "answer")),
    FormName.prompt: (Prompt, ("prompt",)),
    FormName.text: (Text, ("text",)),
}


@changing(Changes.result)
@dataclass
class FilesConfig(DatasetConfig):
    """Settings of anyone's own rows."""

    form: FormName = FormName.completion
    """What a row is; decides which columns it must have. Text columns may hold strings or lists of messages."""
    test_split: str | None = None
    """The held-out split; null holds out `test_fraction` of the train split."""


class Files(Dataset):
    """Rows in the form that the config names."""

    Config = FilesConfig
    config: FilesConfig

    def __init__(self, config: FilesConfig):
        super().__init__(config)
        self.form, self.columns = FORMS[config.form]

    def example(self, row: Row, id: str) -> Example:
        """Read the columns of the form; strings become messages."""
        match self.config.form:
            case FormName.chat:
                return Chat(id, as_messages(row["messages"], "user"))
            case FormName.completion:
                return Completion(id, as_messages(row["prompt"], "user"), as_messages(row["completion"], "assistant"))
            case FormName.preference:
                return Preference(id, *as_pair(row.get("prompt"), row["chosen"], row["rejected"]))
            case FormName.labelled:
                completion = as_messages(row["completion"], "assistant")
                return Labelled(id, as_messages(row["prompt"], "user"), completion, _boolean(row["label"]))
            case FormName.choice:
                return Choice(id, as_messages(row["prompt"], "user"), *_choices(row["choices"], row["answer"]))
            case FormName.prompt:
                return Prompt(id, as_messages(row["prompt"], "user"), self.reward_columns(row))
            case FormName.text:
                if not isinstance(row["text"], str):
                    raise ValueError("text is not a string")
                return Text(id, row["text"])

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return all columns that do not belong to the form."""
        return {name: value for name, value in row.items() if name not in (*self.columns, "prompt")}


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
