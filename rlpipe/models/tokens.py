"""Examples as tokens: rendered by the chat template once, in batches, for lengths, training and audit alike.

The boundary between prompt and completion lies where the tokens of the prompt alone (with the header
of the assistant's turn) and those of the whole stop being the same, as in TRL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import DataError, ModelError
from rlpipe.datasets.forms import Chat, Completion, Example, Labelled, Message, Preference, Text
from rlpipe.models.layout import Tools, alike, check_calls, render, template_errors
from rlpipe.models.turns import Span, spoken_spans

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = list[int]
AT_ONCE = 1000
"""Texts that the tokenizer gets at a time: until it is done with them, no request to stop is heard."""


@dataclass(frozen=True)
class Tokens:
    """One example: a prompt and the texts that may follow it (two for a pair)."""

    prompt: Ids
    """Empty for forms without a prompt."""
    answers: tuple[Ids, ...]
    spoken: tuple[bool, ...] | None = None
    """For a conversation, which of its tokens the assistant wrote; None: all of the answer."""

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return len(self.prompt) + max(len(answer) for answer in self.answers)

    def cut(self, max_length: int) -> Tokens:
        """Leave out what lies beyond `max_length`."""
        room = max(0, max_length - len(self.prompt))
        spoken = None if self.spoken is None else self.spoken[:room]
        return Tokens(self.prompt, tuple(answer[:room] for answer in self.answers), spoken)


def tokenize(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, mark: bool = True) -> list[Tokens]:
    """Tokenise examples of one form.

    `mark` finds out which tokens of a `Chat` the assistant wrote. Raises ModelError where the chat
    template cannot tell, DataError for a form that has no tokens to train on.
    """
    if not examples:
        return []
    first = examples[0]
    if isinstance(first, Chat):
        return _chats(examples, tokenizer, mark)  # type: ignore[arg-type]
    if isinstance(first, Text):
        texts = [_closed(example.text, tokenizer) for example in examples]  # type: ignore[attr-defined]
        return [Tokens([], (ids,)) for ids in encode(texts, tokenizer, special=True)]
    if isinstance(first, Completion | Labelled):
        continued = [[example.completion] for example in examples]  # type: ignore[attr-defined]
    elif isinstance(first, Preference):
        continued = [[example.chosen, example.rejected] for example in examples]  # type: ignore[attr-defined]
    else:
        raise DataError(
            "",
            f"examples of the form {type(first).__name__} hold nothing to train on",
            "choose a dataset that holds answers",
        )
    return _continuations(examples, continued, tokenizer, mark)


def encode(texts: list[str], tokenizer: PreTrainedTokenizerBase, special: bool = False) -> list[Ids]:
    """Tokenise text; `special` adds special tokens, which rendered text has already."""
    parts = (texts[first : first + AT_ONCE] for first in range(0, len(texts), AT_ONCE))
    return [ids for part in parts for ids in tokenizer(part, add_special_tokens=special, verbose=False)["input_ids"]]


def common_prefix(one: Ids, other: Ids) -> int:
    """Count the tokens that two sequences have in common from the start."""
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return position
    return min(len(one), len(other))


def _continuations(
    examples: Sequence[Example], continued: list[list[list[Message]]], tokenizer: PreTrainedTokenizerBase, mark: bool
) -> list[Tokens]:
    prompts: list[list[Message]] = [example.prompt for example in examples]  # type: ignore[attr-defined]
    tools, names = [example.tools for example in examples], [example.id for example in examples]
    opened = encode(render(prompts, tokenizer, True, tools, names), tokenizer)
    whole = [prompt + answer for prompt, answers in zip(prompts, continued, strict=True) for answer in answers]
    of = [row for row, answers in enumerate(continued) for _ in answers]
    texts = render(whole, tokenizer, False, [tools[row] for row in of], [names[row] for row in of])
    check_calls(whole, texts, [names[row] for row in of])
    ids = iter(encode(texts, tokenizer))
    tokens = []
    for prompt, answers in zip(opened, continued, strict=True):
        sequences = [next(ids) for _ in answers]
        border = min(common_prefix(prompt, sequence) for sequence in sequences)
        tokens.append(Tokens(prompt[:border], tuple(sequence[border:] for sequence in sequences)))
    if mark and isinstance(examples[0], Completion):
        _leave_out_others(tokens, examples, whole, texts, tokenizer)  # type: ignore[arg-type]
    return tokens


def _leave_out_others(
    tokens: list[Tokens],
    examples: Sequence[Completion],
    whole: list[list[Message]],
    texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Mark, in completions of several turns, what tools and users say in them, in place."""
    rows = [row for row, one in enumerate(examples) if any(turn["role"] != "assistant" for turn in one.completion)]
    if not rows:
        return
    tools, names = [examples[row].tools for row in rows], [examples[row].id for row in rows]
    spans = spoken_spans([whole[row] for row in rows], [texts[row] for row in rows], tokenizer, tools, names)
    marked = _marked([texts[row] for row in rows], spans, tokenizer)
    for row, found in zip(rows, marked, strict=True):
        assert found.spoken is not None
        tokens[row] = replace(tokens[row], spoken=found.spoken[len(tokens[row].prompt) :])


def _closed(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    end = str(tokenizer.eos_token or "")
    return text if text.endswith(end) else text + end


def has_generation_markers(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the chat template marks what the assistant wrote with `{% generation %}`."""
    return re.search(r"\{%-?\s*generation\b", str(tokenizer.chat_template or "")) is not None


def _chats(examples: Sequence[Chat], tokenizer: PreTrainedTokenizerBase, mark: bool) -> list[Tokens]:
    if len(examples) > AT_ONCE:
        parts = (examples[first : first + AT_ONCE] for first in range(0, len(examples), AT_ONCE))
        return [tokens for part in parts for tokens in _chats(part, tokenizer, mark)]
    conversations, names = [example.messages for example in examples], [example.id for example in examples]
    tools = [example.tools for example in examples]
    # A template that marks the assistant's words knows nothing of weights.
    weighed = any(message.get("weight") == 0 for messages in conversations for message in messages)
    if mark and has_generation_markers(tokenizer) and not weighed:
        _check_calling(conversations, tokenizer, tools, names)
        return _by_markers(conversations, tokenizer, tools, names)
    texts = render(conversations, tokenizer, False, tools, names)
    check_calls(conversations, texts, names)
    if not mark:
        return [Tokens([], (ids,)) for ids in encode(texts, tokenizer)]
    return _marked(texts, spoken_spans(conversations, texts, tokenizer, tools, names), tokenizer)


def _check_calling(
    conversations: list[list[Message]], tokenizer: PreTrainedTokenizerBase, tools: list[Tools], names: list[str]
) -> None:
    """Raise DataError where the template leaves calls out; only conversations with calls are laid out for it."""
    rows = [row for row, chat in enumerate(conversations) if any(message.get("tool_calls") for message in chat)]
    calling, ids = [conversations[row] for row in rows], [names[row] for row in rows]
    check_calls(calling, render(calling, tokenizer, False, [tools[row] for row in rows], ids), ids)


def _by_markers(
    conversations: list[list[Message]], tokenizer: PreTrainedTokenizerBase, tools: list[Tools], names: list[str]
) -> list[Tokens]:
    wanted = {"return_dict": True, "return_assistant_tokens_mask": True, "tokenizer_kwargs": {"verbose": False}}
    template: Any = tokenizer.apply_chat_template
    tokens: dict[int, Tokens] = {}
    for rows in alike(tools):
        part, functions = [conversations[row] for row in rows], tools[rows[0]]
        try:
            found = template(part, tools=functions or None, tokenize=True, **wanted)
        except template_errors() as error:
            render(part, tokenizer, False, [functions] * len(part), [names[row] for row in rows])  # says which row
            what = f"cannot tell which tokens the assistant wrote: {type(error).__name__}: {error}"
            raise ModelError("model.chat_template", what, "use another template, such as chatml") from error
        for row, ids, mask in zip(rows, found["input_ids"], found["assistant_masks"], strict=True):
            tokens[row] = Tokens([], (ids,), tuple(bool(bit) for bit in mask))
    return [tokens[row] for row in range(len(conversations))]


def _marked(texts: list[str], spans: list[list[Span]], tokenizer: PreTrainedTokenizerBase) -> list[Tokens]:
    """Tokenise texts; a token that begins within one of a text's spans is the assistant's."""
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [
        Tokens([], (ids,), tuple(any(begin <= left < stop for begin, stop in inside) for left, _ in offsets))
        for ids, offsets, inside in zip(encoded["input_ids"], encoded["offset_mapping"], spans, strict=True)
    ]
