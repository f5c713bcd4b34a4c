"""Completions with tool calls as tokens to train on: laid out as the sampler lays them out, results marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import ModelError
from rlpipe.datasets.forms import Completion
from rlpipe.models.tokens import Tokens
from rlpipe.tools.protocols import Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize_traces(
    examples: Sequence[Completion], tokenizer: PreTrainedTokenizerBase, protocol: Protocol
) -> list[Tokens]:
    """Tokenise completions; `Tokens.spoken` leaves out what tools answered. Raises ModelError where it cannot be told.

    A token that begins in what the model writes counts as written, as in sampling.
    """
    template: Any = tokenizer.apply_chat_template
    borders, texts, answered = [], [], []
    for example in examples:
        messages, answers = protocol.fold(example.completion)
        offered, schemas = protocol.offer(example.prompt)
        opened = template(offered, tools=schemas or None, tokenize=False, add_generation_prompt=True)
        text = template([*offered, *messages], tools=schemas or None, tokenize=False)
        differ = (place for place, (one, other) in enumerate(zip(opened, text, strict=False)) if one != other)
        border = next(differ, min(len(opened), len(text)))
        answered.append(_places(text, answers, border))
        # What the template writes after the end of the last turn, no model writes.
        head, end, tail = text.rpartition(str(tokenizer.eos_token))
        texts.append(head + end if end and not tail.strip() else text)
        borders.append(border)
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    tokens = []
    for ids, offsets, border, places in zip(
        encoded["input_ids"], encoded["offset_mapping"], borders, answered, strict=True
    ):
        first = sum(start < border for start, _ in offsets)
        spoken = tuple(not any(begin <= start < end for begin, end in places) for start, _ in offsets[first:])
        tokens.append(Tokens(ids[:first], (ids[first:],), spoken))
    return tokens


def _places(text: str, answers: Sequence[str], start: int) -> list[tuple[int, int]]:
    """Find answers in a conversation's text, one after another."""
    places = []
    for answer in answers:
        begin = text.find(answer, start)
        if begin < 0:
            raise ModelError(
                "",
                (
                    "the chat template writes a tool's result otherwise within a conversation than at its end, so "
                    "it cannot be told from what the model writes"
                ),
                "set the tool's protocol to text",
            )
        start = begin + len(answer)
        places.append((begin, start))
    return places
