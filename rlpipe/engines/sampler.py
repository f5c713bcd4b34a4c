"""Completions of the current policy.

Prompts of like length are read together, each one once; the rows that go on from them draw a token
each at every step, by the numbers that belong to each completion. A row that a tool answers takes the
answer's tokens one a step while the others go on writing; a row that is done leaves. Imports torch
only when it samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rlpipe.core.errors import ConfigError, TrainingError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.prompts import lay_out
from rlpipe.engines.rollout import Finish, Rollout, SamplingConfig, ToolCall, sampling_problems
from rlpipe.engines.stops import Ends, StopStrings, end_tokens, room
from rlpipe.engines.toolloop import ToolLoop
from rlpipe.models.tokens import encode
from rlpipe.tools.protocols import choose

if TYPE_CHECKING:
    from rlpipe.models.base import Loaded
    from rlpipe.tools.base import Tool

CACHE_TOKENS = 2**16
"""At most this many tokens in the cache at once, over all rows (but one prompt's completions at least)."""
LOGITS = 2**27
"""At most this many logits at once (half a gigabyte in float32), whatever the vocabulary."""


@dataclass
class Row:
    """A completion that is being written."""

    prompt: int
    """Number of its prompt."""
    index: int
    """Number of the completion among those of its prompt."""
    room: int
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    written: list[bool] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    """Tokens of a tool's answer that are still to be taken, last one first."""
    since: int = 0
    """Index in `ids` of the first token after the last answer."""
    finish: Finish | None = None

    def take(self, token: int, logp: float) -> None:
        """Add the next token: the drawn one, unless an answer is being taken."""
        drawn = not self.given
        self.ids.append(token if drawn else self.given.pop())
        self.logps.append(logp if drawn else 0.0)
        self.written.append(drawn)


class Sampler:
    """Draws completions from a model, in its present state."""

    def __init__(
        self,
        loaded: Loaded,
        sampling: SamplingConfig,
        tools: Sequence[Tool] = (),
        cache_tokens: int = CACHE_TOKENS,
        watch: Callable[[Row], None] | None = None,
    ):
        """Prepare to draw; `watch` sees each completion whenever it has grown.

        Raises ConfigError for settings out of range, or tools that do not go together.
        """
        problems = sampling_problems(sampling, "sampling.")
        if problems:
            raise ConfigError(problems)
        self.loaded, self.sampling, self.tools, self.cache_tokens = loaded, sampling, tools, cache_tokens
        self._watch = watch
        self.protocol = choose(tools, loaded.tokenizer)
        """How tools are called; None without tools."""
        self._loop = ToolLoop(tools, self.protocol, loaded.tokenizer) if self.protocol is not None else None
        self._call_ends = Ends(self.protocol.last_characters if self.protocol else "", loaded.tokenizer)
        self._stops = StopStrings(sampling.stop, loaded.tokenizer)
        self._ends = end_tokens(loaded)

    @property
    def notes(self) -> list[str]:
        """What was decided about tools and the cache, for the run's record. Imports torch."""
        from rlpipe.engines.shared_attention import can_share

        copied = "sampling copies a prompt's keys for each completion: attention is not sdpa in float32"
        shared = "sampling shares a prompt's keys among its completions, unless the model's attention remakes keys"
        notes = [shared if can_share(self.loaded) else copied]
        if self.protocol is not None:
            names = ", ".join(tool.name for tool in self.tools)
            notes.append(f"tools: {names}, called by the {self.protocol.name.value} protocol")
        return notes

    def sample(self, prompts: Sequence[Prompt], count: int, seed: int) -> list[list[Rollout]]:
        """Draw `count` completions of each prompt, in order.

        What is drawn depends on the model, `seed`, the prompt and its id, and the completion's number: however prompts
        are batched, it is the same up to rounding of the logits. Prompts with one id get the same numbers. Raises
        DataError for a prompt that leaves no room in the model's context, TrainingError for logits that are no numbers.
        """
        from rlpipe.engines.generation import writing

        layouts = [lay_out(prompt, self.loaded.tokenizer, self.protocol) for prompt in prompts]
        ids = encode(layouts, self.loaded.tokenizer)
        rooms = [
            room(self.loaded, prompt.id, len(tokens), self.sampling.max_tokens)
            for prompt, tokens in zip(prompts, ids, strict=True)
        ]
        rows: list[list[Row]] = [[] for _ in prompts]
        with writing(self.loaded):
            for numbers in self._chunks(ids, rooms, count):
                made = [Row(number, index, rooms[number]) for number in numbers for index in range(count)]
                for row in made:
                    rows[row.prompt].append(row)
                self._write(made, ids, prompts, seed)
        return [
            [self._rollout(prompt, tokens, row) for row in written]
            for prompt, tokens, written in zip(prompts, ids, rows, strict=True)
        ]

    def _chunks(self, ids: Sequence[list[int]], rooms: Sequence[int], count: int) -> Iterator[list[int]]:
        """Yield numbers of prompts of like length, as many as may be in the cache at once; longest first."""
        vocabulary = self.loaded.model.get_output_embeddings().weight.shape[0]
        chunk: list[int] = []
        widest = 0
        for number in sorted(range(len(ids)), key=lambda number: -len(ids[number])):
            widest = max(widest, len(ids[chunk[0] if chunk else number]) + rooms[number])
            rows = (len(chunk) + 1) * count
            if chunk and (rows * widest > self.cache_tokens or rows * vocabulary > LOGITS):
                yield chunk
                chunk, widest = [], len(ids[number]) + rooms[number]
            chunk.append(number)
        if chunk:
            yield chunk

    def _write(self, rows: list[Row], ids: Sequence[list[int]], prompts: Sequence[Prompt], seed: int) -> None:
        """Write rows to their ends."""
        import torch

        from rlpipe.engines.draw import draw, uniforms
        from rlpipe.engines.generation import Generation

        longest = max(row.room for row in rows)
        distinct = {tuple(ids[row.prompt]): None for row in rows}
        places = {tokens: place for place, tokens in enumerate(distinct)}
        of = [places[tuple(ids[row.prompt])] for row in rows]
        generation = Generation(self.loaded, [list(tokens) for tokens in distinct], of, longest)
        numbers = [uniforms(seed, prompts[row.prompt].id, row.index, longest) for row in rows]
        uniform = torch.tensor(numbers, dtype=torch.float64, device=generation.device)
        for step in range(longest):
            drawn, logps = draw(generation.logits, uniform[:, step], self.sampling)
            gone = []
            for place, (row, token, logp) in enumerate(zip(rows, drawn.tolist(), logps.tolist(), strict=True)):
                if logp != logp:
                    raise TrainingError(
                        "",
                        (
                            f"the model's logits are not numbers after {len(row.ids)} tokens of a completion of "
                            f"prompt {prompts[row.prompt].id}: its weights have diverged"
                        ),
                        "lower method.learning_rate",
                    )
                row.take(token, logp)
                row.finish = self._finish(row)
                if self._watch is not None:
                    self._watch(row)
                if row.finish is not None:
                    gone.append(place)
            if len(gone) == len(rows):
                return
            if gone:
                order = generation.drop(gone)
                rows = [rows[place] for place in order]
                uniform = uniform[order]
            generation.step([row.ids[-1] for row in rows])

    def _finish(self, row: Row) -> Finish | None:
        """Return why a row is done with its newest token; None where it goes on, perhaps with a tool's answer."""
        if row.written[-1]:
            ended = row.ids[-1] in self._ends
            if self._may_call(row.ids[-1]) and self._answered(row):
                return Finish.length if len(row.ids) >= row.room else None
            if ended or self._stops(row.ids[row.since :]):
                return Finish.stop
        elif not row.given:
            row.since = len(row.ids)
        return Finish.length if len(row.ids) >= row.room else None

    def _may_call(self, token: int) -> bool:
        """Return whether a call may have been completed by a token."""
        if self.protocol is None:
            return False
        if self.protocol.ends_turn:
            return token == self.loaded.tokenizer.eos_token_id
        return token not in self._ends and self._call_ends(token)

    def _answered(self, row: Row) -> bool:
        """Run the calls that a row has written, if any, and let it take the results."""
        assert self._loop is not None
        left = row.room - len(row.ids)
        answer = self._loop.answer(row.ids[row.since :], row.calls, len(row.ids), left)
        if answer is None:
            return False
        row.calls += answer.calls
        if len(answer.ids) >= left:
            # Nothing can be written after it: there is no need to take it step by step.
            row.ids += answer.ids
            row.logps += [0.0] * len(answer.ids)
            row.written += [False] * len(answer.ids)
        else:
            row.given = answer.ids[::-1]
        return True

    def _rollout(self, prompt: Prompt, prompt_ids: list[int], row: Row) -> Rollout:
        assert row.finish is not None
        text = str(self.loaded.tokenizer.decode(row.ids, skip_special_tokens=True))
        return Rollout(prompt, prompt_ids, row.ids, row.logps, row.written, text, row.finish, row.calls)
