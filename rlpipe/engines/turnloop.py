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

    from rlpipe.environments.episode import Episode

PROBE = "Zq7"
"""A text that no template contains."""


class TurnLoop:
    """Plays the episodes of completions."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, schemas: Sequence[dict[str, Any]] = ()):
        """Prepare; `schemas` are the tools that the chat template is given."""
        self._tokenizer, self._schemas, self._inserter = tokenizer, list(schemas), Inserter(tokenizer)

    def answer(self, episode: Episode, ids: Sequence[int], start: int, room: int) -> Finish | list[int]:
        """Have the environment answer the turn with which a completion ends so far, `ids` from `start` on.

        Returns the answer's tokens, up to where the model goes on, or why the episode is over: also where so few tokens
        may follow (`room`) that nothing could be written behind the answer.
        """
        text = str(self._tokenizer.decode(list(ids[start:]), skip_special_tokens=True))
        turn = episode.step(text, len(ids))
        if turn.done:
            return Finish.stop
        if episode.exhausted:
            return Finish.length
        end: Any = self._tokenizer.eos_token_id
        between = self._inserter.behind(str(self._tokenizer.eos_token), self._between(turn.messages, episode.id))
        answer = between if ids[-1] == end else [end, *between]
        return answer if len(answer) < room else Finish.length

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
