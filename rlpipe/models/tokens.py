"""Examples as tokens: rendered by the chat template once, in batches, for lengths, training and audit alike.

The boundary between prompt and completion lies where the tokens of the prompt alone (with the header
of the assistant's turn) and those of the whole stop being the same, as in TRL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import DataError, ModelError
from rlpipe.datasets.forms import Chat, Completion, Example, Labelled, Message, Preference, Text

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
        return _chats([example.messages for example in examples], tokenizer, mark)  # type: ignore[attr-defined]
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
    return _continuations([example.prompt for example in examples], continued, tokenizer)  # type: ignore[attr-defined]


def render(conversations: list[list[Message]], tokenizer: PreTrainedTokenizerBase, header: bool = False) -> list[str]:
    """Lay conversations out as text; `header` opens the assistant's next turn."""
    if not conversations:
        return []
    texts = tokenizer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=header)
    return [str(text) for text in texts]


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
    prompts: list[list[Message]], continued: list[list[list[Message]]], tokenizer: PreTrainedTokenizerBase
) -> list[Tokens]:
    opened = encode(render(prompts, tokenizer, header=True), tokenizer)
    whole = [prompt + answer for prompt, answers in zip(prompts, continued, strict=True) for answer in answers]
    ids = iter(encode(render(whole, tokenizer), tokenizer))
    tokens = []
    for prompt, answers in zip(opened, continued, strict=True):
        sequences = [next(ids) for _ in answers]
        border = min(common_prefix(prompt, sequence) for sequence in sequences)
        tokens.append(Tokens(prompt[:border], tuple(sequence[border:] for sequence in sequences)))
    return tokens


def _closed(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    end = str(tokenizer.eos_token or "")
    return text if text.endswith(end) else text + end


def has_generation_markers(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the chat template marks what the assistant wrote with `{% generation %}`."""
    return re.search(r"\{%-?\s*generation\b", str(tokenizer.chat_template or "")) is not None


def _chats(conversations: list[list[Message]], tokenizer: PreTrainedTokenizerBase, mark: bool) -> list[Tokens]:
    if len(conversations) > AT_ONCE:
        parts = (conversations[first : first + AT_ONCE] for first in range(0, len(conversations), AT_ONCE))
        return [tokens for part in parts for tokens in _chats(part, tokenizer, mark)]
    if not mark:
        return [Tokens([], (ids,)) for ids in encode(render(conversations, tokenizer), tokenizer)]
    if not has_generation_markers(tokenizer):
        return _spoken_by_turns(conversations, tokenizer)
    encoded: Any = tokenizer.apply_chat_template(
        conversations,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        tokenizer_kwargs={"verbose": False},
    )
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    return [Tokens([], (ids,), tuple(bool(bit) for bit in mask)) for ids, mask in pairs]


def _spoken_by_turns(conversations: list[list[Message]], tokenizer: PreTrainedTokenizerBase) -> list[Tokens]:
    """Find the assistant's text as what each of its turns adds to the text before it.

    Many chat templates carry no markers, but show a conversation's beginning as the beginning of its text.
    """
    turns = [
        (row, turn)
        for row, messages in enumerate(conversations)
        for turn, message in enumerate(messages)
        if message["role"] == "assistant"
    ]
    starts = render([conversations[row][:turn] for row, turn in turns], tokenizer, header=True)
    ends = render([conversations[row][: turn + 1] for row, turn in turns], tokenizer)
    texts = render(conversations, tokenizer)
    spans: list[list[tuple[int, int]]] = [[] for _ in conversations]
    for (row, turn), start, end in zip(turns, starts, ends, strict=True):
        if not (end.startswith(start) and texts[row].startswith(end)):
            raise ModelError(
                "",
                (
                    f"the chat template shows turn {turn} of a conversation differently once more turns follow, so "
                    "what the assistant wrote cannot be told from the rest"
                ),
                (
                    "put {% generation %} … {% endgeneration %} around it in the template (model.chat_template), or "
                    "train on everything (method.train_on=conversation)"
                ),
            )
        spans[row].append((len(start), len(end)))
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [
        Tokens([], (ids,), tuple(any(begin <= left < stop for begin, stop in inside) for left, _ in offsets))
        for ids, offsets, inside in zip(encoded["input_ids"], encoded["offset_mapping"], spans, strict=True)
    ]
