"""Text that others put into a completion, as tokens: results of tools, and what an environment says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlpipe.models.tokens import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Inserter:
    """Makes tokens of what a model did not write."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._special = sorted(tokenizer.all_special_tokens, key=len, reverse=True)

    def behind(self, anchor: str, text: str) -> list[int]:
        """Tokenise a text as it stands behind another, whose tokens are there already."""
        before, both = encode([anchor, anchor + text], self._tokenizer)
        if both[: len(before)] == before:
            return both[len(before) :]
        return encode([text], self._tokenizer)[0]

    def harmless(self, text: str) -> str:
        """Take out of a text what a tokenizer would read as a special token, or cannot read at all."""
        text = text.encode("utf-8", "replace").decode()
        for token in self._special:
            text = text.replace(token, " ")
        return text
