"""Completions that are being written, and where they end: one set of rules for every engine.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rlpipe.engines.rollout import Finish, SamplingConfig, ToolCall
from rlpipe.engines.stops import Ends, StopStrings, end_tokens
from rlpipe.engines.toolloop import ToolLoop
from rlpipe.engines.turnloop import TurnLoop
from rlpipe.tools.protocols import choose

if TYPE_CHECKING:
    from rlpipe.environments.episode import Episode
    from rlpipe.models.base import Loaded
    from rlpipe.tools.base import Tool
    from rlpipe.tools.protocols import Protocol


@dataclass
class Row:
    """A completion that is being written."""

    prompt: int
    """Number of its prompt."""
    index: int
    """Number of the completion among those of its prompt."""
    room: int
    """How many tokens it may have."""
    prompt_ids: list[int] = field(default_factory=list)
    """The prompt's tokens."""
    id: str = ""
    """The prompt's id: with `seed` and `index` it decides what is drawn."""
    seed: int = 0
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    written: list[bool] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    """Tokens of an answer, a tool's or an environment's, that are still to be taken, last one first."""
    since: int = 0
    """Index in `ids` of the first token after the last answer."""
    episode: Episode | None = None
    """What answers its turns; None where a completion is one turn."""
    turn: int = 0
    """Index in `ids` of the first token of its turn."""
    finish: Finish | None = None

    def take(self, token: int, logp: float) -> None:
        """Add the next token: the drawn one, unless an answer is being taken."""
        drawn = not self.given
        self.ids.append(token if drawn else self.given.pop())
        self.logps.append(logp if drawn else 0.0)
        self.written.append(drawn)

    def insert(self, answer: list[int]) -> None:
        """Let it take an answer next: token by token, or at once where nothing can be written behind it."""
        if len(answer) < self.room - len(self.ids):
            self.given = answer[::-1]
            return
        self.ids += answer
        self.logps += [0.0] * len(answer)
        self.written += [False] * len(answer)


class Endings:
    """Says of a row, token by token, whether it is done or has to take an answer: a tool's or its environment's."""

    def __init__(
        self,
        loaded: Loaded,
        sampling: SamplingConfig,
        tools: Sequence[Tool] = (),
        watch: Callable[[Row], None] | None = None,
        protocol: Protocol | None = None,
    ):
        """Prepare; `watch` sees each row whenever it has grown. Raises ConfigError for tools that do not go together.

        `protocol` is how tools are called, by default the one for these tools and the model's chat template.
        """
        self.protocol = protocol or choose(tools, loaded.tokenizer)
        """How tools are called; None without tools."""
        self.tokens = end_tokens(loaded)
        """The ids that end a completion, unless it calls a tool by them."""
        closings = self.protocol.closings if self.protocol is not None else ()
        self.strings = (*sampling.stop, *closings)
        """After which a completion may have ended, or called: an engine may stop there and ask."""
        self._eos = loaded.tokenizer.eos_token_id
        self._loop = ToolLoop(tools, self.protocol, loaded.tokenizer) if self.protocol is not None else None
        self._turns = TurnLoop(loaded.tokenizer, self.protocol.offer([])[1] if self.protocol is not None else ())
        self._call_ends = Ends("".join(one[-1] for one in closings), loaded.tokenizer)
        self._stops = StopStrings(sampling.stop, loaded.tokenizer)
        self.watch = watch

    def __call__(self, row: Row, token: int, logp: float) -> Finish | None:
        """Let a row take its next token; return why it is done, None where it goes on."""
        row.take(token, logp)
        row.finish = self._finish(row)
        if self.watch is not None:
            self.watch(row)
        return row.finish

    def _finish(self, row: Row) -> Finish | None:
        """Return why a row is done with its newest token; None where it goes on, perhaps with an answer."""
        if row.written[-1]:
            ended = row.ids[-1] in self.tokens
            if self._may_call(row.ids[-1]) and self._answered(row):
                return Finish.length if len(row.ids) >= row.room else None
            if ended or self._stops(row.ids[row.since :]):
                return self._ended(row)
            if row.episode is not None and self._overlong(row, row.episode):
                return Finish.length
        elif not row.given:
            row.since = len(row.ids)
        return Finish.length if len(row.ids) >= row.room else None

    def _ended(self, row: Row) -> Finish | None:
        """Return why a row is done whose turn has ended; None where its environment answers."""
        if row.episode is None:
            return Finish.stop
        # What the model says to its tools, as turns of their own, is not for the environment.
        called = self.protocol is not None and self.protocol.ends_turn
        start, room = row.since if called else row.turn, row.room - len(row.ids)
        answer = self._turns.answer(row.episode, row.ids, start, room)
        if isinstance(answer, Finish):
            return answer
        row.insert(answer)
        row.turn = len(row.ids) + len(answer)
        return None

    def _overlong(self, row: Row, episode: Episode) -> bool:
        longest = episode.environment.config.turn_tokens
        return longest is not None and len(row.ids) - row.turn >= longest

    def _may_call(self, token: int) -> bool:
        """Return whether a call may have been completed by a token."""
        if self.protocol is None:
            return False
        if self.protocol.ends_turn:
            return token == self._eos
        return token not in self.tokens and self._call_ends(token)

    def _answered(self, row: Row) -> bool:
        """Run the calls that a row has written, if any, and let it take the results."""
        assert self._loop is not None
        left = row.room - len(row.ids)
        answer = self._loop.answer(row.ids[row.since :], row.calls, len(row.ids), left)
        if answer is None:
            return False
        row.calls += answer.calls
        row.insert(answer.ids)
        return True
