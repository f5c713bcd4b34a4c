"""Completions of a model: prompts laid out, drawn by an engine, with tools and environments, as rollouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rlpipe.core.errors import ConfigError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.base import SeparateEngine
from rlpipe.engines.freshness import fresh
from rlpipe.engines.prompts import lay_out
from rlpipe.engines.rollout import Rollout, SamplingConfig, sampling_problems
from rlpipe.engines.rows import Endings, Row
from rlpipe.engines.stops import room
from rlpipe.engines.transformers import Transformers, TransformersConfig
from rlpipe.environments.episode import begin, opened
from rlpipe.models.tokens import encode

if TYPE_CHECKING:
    from rlpipe.engines.base import Engine
    from rlpipe.environments.episode import Environments, Episode
    from rlpipe.models.base import Loaded
    from rlpipe.tools.base import Tool


class Sampler:
    """Draws completions from a model, in its present state."""

    def __init__(
        self,
        loaded: Loaded,
        sampling: SamplingConfig,
        tools: Sequence[Tool] = (),
        watch: Callable[[Row], None] | None = None,
        engine: Engine | None = None,
        environments: Environments | None = None,
    ):
        """Prepare to draw by `engine`, by default the one that serves the model (`Loaded.engine`).

        With `environments` a completion is an episode of several turns. `watch` sees each completion whenever it has
        grown. Raises ConfigError for settings out of range, or tools that do not go together.
        """
        problems = sampling_problems(sampling, "sampling.")
        if problems:
            raise ConfigError(problems)
        self.loaded, self.sampling, self.tools, self.environments = loaded, sampling, tools, environments
        self.engine: Engine = engine or loaded.engine or Transformers(TransformersConfig())
        self.endings = Endings(loaded, sampling, tools, watch)
        self.protocol = self.endings.protocol
        """How tools are called; None without tools."""

    @property
    def notes(self) -> list[str]:
        """What was decided about tools and the engine, for the run's record. Imports torch."""
        notes = self.engine.notes(self.loaded)
        if self.protocol is not None:
            names = ", ".join(tool.name for tool in self.tools)
            notes.append(f"tools: {names}, called by the {self.protocol.name.value} protocol")
        return notes

    def opened(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """Return prompts as the model reads them: with what the environment says first, where there is one."""
        return opened(self.environments, prompts)

    def sample(
        self,
        prompts: Sequence[Prompt],
        count: int,
        seed: int,
        ended: Callable[[list[Rollout]], None] | None = None,
    ) -> list[list[Rollout]]:
        """Draw `count` completions of each prompt, in order.

        `ended` is given a prompt's completions as soon as all of them are there, while others are still drawn.

        What is drawn depends on the model, the engine, `seed`, the prompt and its id, and the completion's number:
        however prompts are batched, it is the same up to rounding of the logits. Prompts with one id get the same
        numbers. Raises DataError for a prompt that leaves no room in the model's context, TrainingError for logits that
        are no numbers, and for an engine that has other weights than the model.
        """
        episodes = self._begin(prompts, count)
        try:
            return self._drawn(prompts, episodes, seed, ended)
        finally:
            for episode in filter(None, (one for group in episodes for one in group)):
                episode.close()

    @property
    def draws_beside_training(self) -> bool:
        """Whether `sample` may run in another thread while the model is trained, once `synchronise` has returned."""
        return isinstance(self.engine, SeparateEngine) and self.engine.draws_beside_training

    def synchronise(self) -> None:
        """Have the engine take over the model's weights of now, where it may have others. Raises TrainingError."""
        with fresh(self.engine, self.loaded, ()):
            pass

    def _begin(self, prompts: Sequence[Prompt], count: int) -> list[list[Episode | None]]:
        if self.environments is None:
            return [[None] * count for _ in prompts]
        return [list(begin(self.environments, prompt, count)) for prompt in prompts]

    def _drawn(
        self,
        prompts: Sequence[Prompt],
        episodes: Sequence[Sequence[Episode | None]],
        seed: int,
        ended: Callable[[list[Rollout]], None] | None,
    ) -> list[list[Rollout]]:
        read = [_read(prompt, group) for prompt, group in zip(prompts, episodes, strict=True)]
        layouts = [lay_out(prompt, self.loaded.tokenizer, self.protocol) for prompt in read]
        ids = encode(layouts, self.loaded.tokenizer)
        groups = [
            [
                Row(number, index, self._room(prompt, tokens), tokens, prompt.id, seed, episode=episode)
                for index, episode in enumerate(episodes[number])
            ]
            for number, (prompt, tokens) in enumerate(zip(prompts, ids, strict=True))
        ]
        rows = [row for group in groups for row in group]
        made: dict[int, list[Rollout]] = {}

        def hand_over(row: Row) -> None:
            group = groups[row.prompt]
            if ended is not None and all(one.finish is not None for one in group):
                made[row.prompt] = [self._rollout(read[row.prompt], one) for one in group]
                ended(made[row.prompt])

        if rows:
            with fresh(self.engine, self.loaded, rows), self._watching(hand_over if ended is not None else None):
                self.engine.write(self.loaded, rows, self.sampling, self.endings)
        return [
            made.get(number) or [self._rollout(prompt, row) for row in groups[number]]
            for number, prompt in enumerate(read)
        ]

    @contextmanager
    def _watching(self, finished: Callable[[Row], None] | None) -> Iterator[None]:
        """Have `finished` see each row that is done, beside whoever watches already."""
        before = self.endings.watch

        def watch(row: Row) -> None:
            if before is not None:
                before(row)
            if finished is not None and row.finish is not None:
                finished(row)

        if finished is not None:
            self.endings.watch = watch
        try:
            yield
        finally:
            self.endings.watch = before

    def _room(self, prompt: Prompt, tokens: list[int]) -> int:
        return room(self.loaded, prompt.id, len(tokens), self.sampling.max_tokens)

    def _rollout(self, prompt: Prompt, row: Row) -> Rollout:
        assert row.finish is not None
        text = str(self.loaded.tokenizer.decode(row.ids, skip_special_tokens=True))
        turns = None if row.episode is None else row.episode.turns
        return Rollout(prompt, row.prompt_ids, row.ids, row.logps, row.written, text, row.finish, row.calls, turns)


def _read(prompt: Prompt, episodes: Sequence[Episode | None]) -> Prompt:
    """Return the prompt as the model reads it."""
    first = next(iter(episodes), None)
    return prompt if first is None else first.prompt
