"""Where a completion ends: end tokens, stop strings, and how long it may be. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlpipe.models.base import Loaded


def end_tokens(loaded: Loaded) -> frozenset[int]:
    """Return the ids that end a completion: the tokenizer's end of turn, and those of the generation config."""
    generation: Any = getattr(loaded.model, "generation_config", None)
    ids = getattr(generation, "eos_token_id", None)
    several = ids if isinstance(ids, list) else [ids]
    return frozenset(id for id in (*several, loaded.tokenizer.eos_token_id) if id is not None)


def room(loaded: Loaded, prompt_id: str, prompt_tokens: int, max_tokens: int) -> int:
    """Return how many tokens a completion may have. Raises DataError for a prompt that fills the model's context."""
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    if context is None:
        return max_tokens
    if prompt_tokens >= context:
        raise DataError(
            "",
            f"prompt {prompt_id} has {prompt_tokens} tokens, and the model takes {context} with the completion",
            "leave it out (method.max_length), or choose a model with a longer context",
        )
    return min(max_tokens, context - prompt_tokens)


class StopStrings:
    """Looks for strings at the end of what is being written."""

    def __init__(self, strings: Sequence[str], tokenizer: PreTrainedTokenizerBase):
        self._strings = [string for string in strings if string]
        self._tokenizer = tokenizer
        # A token adds a byte at least, and no character has more than four.
        self._window = 4 * max(map(len, self._strings), default=0) + 4
        self._ends = Ends("".join(string[-1] for string in self._strings), tokenizer)

    def __call__(self, written: Sequence[int]) -> bool:
        """Return whether the newest token of `written` (non-empty) completes one of the strings."""
        if not self._strings or not self._ends(written[-1]):
            return False
        text = self._tokenizer.decode(list(written[-self._window :]), skip_special_tokens=False)
        return any(string in text for string in self._strings)


class Ends:
    """Says of a token whether it may hold one of some characters; few do, so few completions are decoded."""

    def __init__(self, characters: str, tokenizer: PreTrainedTokenizerBase):
        self._characters, self._tokenizer = set(characters), tokenizer
        # Tokenizers trim white space around a lone token, and show half a character as one that stands for any.
        self._any = any(character.isspace() or not character.isascii() for character in characters)
        self._known: dict[int, bool] = {}

    def __call__(self, token: int) -> bool:
        """Return whether a token may hold one of the characters."""
        if self._any:
            return True
        if token not in self._known:
            self._known[token] = not self._characters.isdisjoint(self._tokenizer.decode([token]))
        return self._known[token]
