"""A completion that is being written, as pieces of text and tool calls: what can be shown at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rlpipe.engines.rollout import ToolCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlpipe.engines.rows import Row

UNFINISHED = "\ufffd"
"""What a tokenizer writes for bytes that are no character yet."""


class Pieces:
    """Tokens to text, piece by piece; all pieces together are the text of all tokens.

    A tokenizer may write a token otherwise behind another one than alone, so a few tokens before it are
    decoded with it; a piece waits until its last character is whole.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = self._shown = 0

    def add(self, token: int) -> str:
        """Take a token and return the text that is certain now (often of this token, sometimes none)."""
        self._ids.append(token)
        before, text = self._texts()
        if len(text) <= len(before) or text.endswith(UNFINISHED):
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return text[len(before) :]

    def rest(self) -> str:
        """Return what has been waited with, whole or not."""
        before, text = self._texts()
        self._start = self._shown = len(self._ids)
        return text[len(before) :]

    def _texts(self) -> tuple[str, str]:
        """Return the text of the tokens that have been told, from a few before the newest ones, and with those."""
        decode = self._tokenizer.decode
        shown = decode(self._ids[self._start : self._shown], skip_special_tokens=True)
        return str(shown), str(decode(self._ids[self._start :], skip_special_tokens=True))


class Stream:
    """Follows one completion: hands out what the model writes, and each tool call with its result when it was made.

    A result is told once, as part of its call, not again as the tokens that the model reads.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        on_text: Callable[[str], None],
        on_call: Callable[[ToolCall], None],
    ):
        self._tokenizer, self._on_text, self._on_call = tokenizer, on_text, on_call
        self._pieces = Pieces(tokenizer)
        self._seen = self._calls = 0

    def __call__(self, row: Row) -> None:
        """Look at what the completion has got since the last time."""
        for token, written in zip(row.ids[self._seen :], row.written[self._seen :], strict=True):
            if written:
                self._emit(self._pieces.add(token))
        self._seen = len(row.ids)
        if len(row.calls) > self._calls or row.finish is not None:
            self._emit(self._pieces.rest())
        for call in row.calls[self._calls :]:
            self._on_call(call)
        self._calls = len(row.calls)

    def _emit(self, text: str) -> None:
        if text:
            self._on_text(text)
