"""How long a run's examples are in tokens, before anything is loaded: a few of them, read by the model's tokenizer."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rlpipe.config.resolved import resolve
from rlpipe.core.errors import ModelError
from rlpipe.datasets.forms import (
    Chat,
    Choice,
    Completion,
    Example,
    Labelled,
    Message,
    Preference,
    Prompt,
    Text,
    text_of,
)
from rlpipe.hub import inspection
from rlpipe.hub.facts import weights_folder
from rlpipe.models.base import Model
from rlpipe.run.check.subject import Subject
from rlpipe.stages.lineage import origin

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PER_MESSAGE = 5
"""Tokens that a chat template adds to each message."""
CHARACTERS = 4.0
"""Characters of English a token, where the model's tokenizer is not at hand."""


@dataclass(frozen=True)
class Lengths:
    """Mean lengths of a run's examples, in tokens."""

    whole: float
    """All sequences of an example together: a preference has two."""
    prompt: float


def lengths(subject: Subject, examples: Sequence[Example]) -> Lengths:
    """Return the mean lengths of some examples, each sequence cut to `method.max_length`."""
    tokenizer, longest = _tokenizer(subject), subject.config.method.max_length
    sequences = [[min(longest, _tokens(one, tokenizer)) for one in _sequences(example)] for example in examples]
    prompts = [min(longest, _tokens(getattr(example, "prompt", []), tokenizer)) for example in examples]
    return Lengths(fmean(map(sum, sequences)), fmean(prompts))


def _sequences(example: Example) -> list[list[Message]]:
    """Return what an example holds, as conversations."""
    match example:
        case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
            return [prompt + chosen, prompt + rejected]
        case Completion(prompt=prompt, completion=completion) | Labelled(prompt=prompt, completion=completion):
            return [prompt + completion]
        case Choice(prompt=prompt, choices=choices):
            return [[*prompt, {"role": "assistant", "content": choice}] for choice in choices]
        case Chat(messages=messages):
            return [messages]
        case Prompt(prompt=prompt):
            return [prompt]
        case Text(text=text):
            return [[{"role": "user", "content": text}]]
    return []


def _tokens(messages: Sequence[Message], tokenizer: Tokenizer | None) -> int:
    text = text_of(list(messages)) if messages else ""
    content = len(text) / CHARACTERS if tokenizer is None else len(tokenizer.encode(text).ids)
    return round(content) + PER_MESSAGE * len(messages)


def _tokenizer(subject: Subject) -> Tokenizer | None:
    """Return the tokenizer of the model's folder, or of the one that the runs before start from."""
    first = origin(subject.config)
    if first is None:
        return None
    model: Model = resolve(first).model
    folder = Path(model.config.source).expanduser() if model.config.source is not None else model.made_of
    if folder is None or not folder.is_dir():
        return None
    return _read(folder)


@functools.lru_cache(maxsize=4)
def _read(folder: Path) -> Tokenizer | None:
    try:
        return inspection.tokenizer(weights_folder(folder))
    except ModelError:
        return None  # the checks say what is wrong with the folder
