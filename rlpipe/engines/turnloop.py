"""Turns within a completion: where the model ends one, its environment answers, and the model goes on behind that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import ModelError
from rlpipe.datasets.forms import Message
from rlpipe.engines.inserted import Inserter
from rlpipe.engines.rollout import Finish
from rlpipe.models.layout import OWN, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlpipe.engines.rows import Row

PROBE = "Zq7"
"""A text that no template contains."""


class TurnLoop:
    """Plays the episodes of completions."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, schemas: Sequence[dict[str, Any]] = ()):
        """Prepare; `schemas` are the tools that the chat template is given."""
        self._tokenizer, self._schemas, self._inserter = tokenizer, list(schemas), Inserter(tokenizer)

    def play(self, row: Row, start: int) -> Finish | None:
        """Have the environment answer the turn that ends with a row's newest token, and let the row take the answer.

        `start` is the index of the turn's first token. Returns why the episode is over, None where it goes on.
        """
        assert row.episode is not None
        text = str(self._tokenizer.decode(row.ids[start:], skip_special_tokens=True))
        turn = row.episode.step(text, len(row.ids))
        if turn.done:
            return Finish.stop
        if row.episode.exhausted:
            return Finish.length
        answer = self._answer(turn.messages, row)
        if len(answer) >= row.room - len(row.ids):
            return Finish.length  # nothing could be written behind it
        row.insert(answer)
        row.turn = len(row.ids) + len(answer)
        return None

    def _answer(self, messages: Sequence[Message], row: Row) -> list[int]:
        """Return what stands between two turns of the model: the end of the one, messages, the header of the next."""
        eos = self._tokenizer.eos_token_id
        ended = [] if row.ids[-1] == eos else [eos]
        return [*ended, *self._inserter.behind(str(self._tokenizer.eos_token), self._between(messages, row.id))]

    def _between(self, messages: Sequence[Message], id: str) -> str:
        """Return what the chat template writes behind the end of an assistant's turn. Raises ModelError."""
        said = [{**one, "content": self._inserter.harmless(one["content"])} for one in messages]
        turns = [{"role": "user", "content": "."}, {"role": "assistant", "content": PROBE}, *said]
        [text] = render([turns], self._tokenizer, True, [self._schemas], [id])
        _, _, behind = text.partition(PROBE)
        _, end, between = behind.partition(str(self._tokenizer.eos_token))
        if not end:
            what = f"the chat template of {self._tokenizer.name_or_path} does not end the assistant's turns"
            raise ModelError("environment", f"{what} with {self._tokenizer.eos_token}", f"set {OWN}")
        return between
