"""Tool calls within a completion: what the model wrote is searched for calls, and their results are put behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rlpipe.engines.inserted import Inserter
from rlpipe.engines.rollout import ToolCall
from rlpipe.tools.base import Tool
from rlpipe.tools.protocols import Protocol
from rlpipe.tools.run import Runner

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class Answer:
    """What is put behind a call."""

    ids: list[int]
    """The result's tokens, up to where the model goes on."""
    calls: list[ToolCall] = field(default_factory=list)


class ToolLoop:
    """Runs the calls that completions make."""

    def __init__(self, tools: Sequence[Tool], protocol: Protocol, tokenizer: PreTrainedTokenizerBase):
        self.protocol = protocol
        self._runner, self._tokenizer, self._inserter = Runner(tools), tokenizer, Inserter(tokenizer)
        self._least = len(self._behind("", [""]))

    def answer(self, written: Sequence[int], made: Sequence[ToolCall], at: int, room: int) -> Answer | None:
        """Run the calls in the tokens that the model wrote since its last result.

        `made` are the completion's calls so far, `at` the number of its tokens, `room` the number of those
        that may follow. None where there is no call, or no room for a result with something after it:
        then nothing is run.
        """
        text = str(self._tokenizer.decode(list(written), skip_special_tokens=False))
        calls = self.protocol.calls(text)
        if not calls or room <= self._least:
            return None
        before = Counter(call.name for call in made)
        done = []
        for call in calls:
            result = self._runner.run(call, before[call.name])
            before[call.name] += 1
            done.append(ToolCall(call.name, call.arguments, self._inserter.harmless(result.text), result.failed, at))
        return Answer(self._behind(text, [call.result for call in done])[:room], done)

    def _behind(self, written: str, results: Sequence[str]) -> list[int]:
        """Tokenise results as they stand behind a turn's end or a call's closing tag."""
        anchor = str(self._tokenizer.eos_token) if self.protocol.ends_turn else ">"
        return self._inserter.behind(anchor, self.protocol.answer(written, results))
