"""Pieces of text: nothing lost, nothing twice, no half characters; and tool calls told once."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.cli.chat.streaming import UNFINISHED, Pieces, Stream
from rlpipe.engines.rollout import Finish, ToolCall
from rlpipe.engines.rows import Row
from rlpipe.models.blank import TOKENIZER
from rlpipe.models.pretrained import load_tokenizer


@functools.cache
def own():
    return load_tokenizer(TOKENIZER)


@pytest.fixture(scope="module")
def tokenizers(shared_dir: Path):
    models = shared_dir / "models"
    return [load_tokenizer(models / name) for name in ("qwen2.5-tokenizer", "stories15m")]


def pieces_of(tokenizer, ids: list[int]) -> list[str]:
    pieces = Pieces(tokenizer)
    return [*(pieces.add(token) for token in ids), pieces.rest()]


@settings(max_examples=200)
@given(st.deferred(lambda: st.lists(st.integers(0, len(own()) - 1), max_size=40)))
def test_pieces_of_any_tokens_are_their_text(ids):
    assert "".join(pieces_of(own(), ids)) == own().decode(ids, skip_special_tokens=True)


@settings(max_examples=100)
@given(text=st.text(max_size=60))
def test_pieces_of_a_text_are_whole_characters(text):
    ids = own()(text, add_special_tokens=False)["input_ids"]
    *pieces, rest = pieces_of(own(), ids)
    assert "".join(pieces) + rest == own().decode(ids, skip_special_tokens=True)
    if UNFINISHED not in text:
        assert not any(UNFINISHED in piece for piece in pieces)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["Hello there, you.", "Grüße — 你好 👩‍👩‍👧 done", "  two  spaces\n\nlines\t", "x=½+½"])
def test_real_tokenizers(tokenizers, text):
    """A byte-level and a SentencePiece vocabulary, the second of which writes a word's first token with a space."""
    for tokenizer in tokenizers:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces = pieces_of(tokenizer, ids)
        assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)
        assert not any(UNFINISHED in piece for piece in pieces)
        assert sum(map(bool, pieces)) > len(ids) / 3, "most tokens are told as they come"


def grown(row: Row, ids: list[int], written: bool) -> Row:
    row.ids += ids
    row.written += [written] * len(ids)
    return row


def test_a_result_is_told_once_as_part_of_its_call():
    told: list[str | ToolCall] = []
    stream = Stream(own(), told.append, told.append)
    row = Row(0, 0, 100)
    encode = lambda text: own()(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    for token in encode("I compute 2*3."):
        stream(grown(row, [token], True))
    row.calls.append(ToolCall("calculator", {"expression": "2*3"}, "6", False, len(row.ids)))
    for token in encode("RESULT"):
        stream(grown(row, [token], False))
    for token in encode(" So 6."):
        stream(grown(row, [token], True))
    row.finish = Finish.stop
    stream(row)
    place = next(place for place, one in enumerate(told) if isinstance(one, ToolCall))
    assert "".join(told[:place]) == "I compute 2*3."
    assert "".join(told[place + 1 :]) == " So 6."


def test_half_a_character_at_the_end_is_shown_when_nothing_follows():
    half = own()("é", add_special_tokens=False)["input_ids"][:1]
    told: list[str] = []
    stream = Stream(own(), told.append, lambda call: None)
    row = grown(Row(0, 0, 100), half, True)
    stream(row)
    row.finish = Finish.length
    stream(row)
    assert "".join(told) == own().decode(half)
