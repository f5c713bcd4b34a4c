"""One episode: an environment between its reset and its end, seeded by the row, with all that it answers looked at."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlpipe.core.errors import PluginError, RlpipeError, Stopped
from rlpipe.datasets.forms import Message, Prompt
from rlpipe.environments.base import Environment, Step

Environments = Callable[[], Environment]
"""Makes environments, one for each episode."""
ROLES = ("user", "system", "tool")
"""Who an environment may speak as."""


@dataclass(frozen=True)
class Turn:
    """A turn of the model in an environment, and what came of it."""

    messages: list[Message]
    """The answer; the model read it unless the episode ended here."""
    reward: float
    done: bool
    """Whether the environment ended the episode."""
    numbers: dict[str, float]
    at: int
    """Index in `Rollout.ids` of the first token behind the turn."""


class Episode:
    """What one completion plays."""

    def __init__(self, environment: Environment, prompt: Prompt):
        """Begin the episode of a prompt. Raises PluginError for an environment that breaks its contract."""
        self.environment, self.id = environment, prompt.id
        self.turns: list[Turn] = []
        seed = episode_seed(environment.config.seed, prompt.id)
        opening = self._of("reset", lambda: environment.reset(prompt.columns, seed))
        self.opening = self._messages("reset", opening)
        self.prompt = dataclasses.replace(prompt, prompt=joined(prompt.prompt, self.opening))
        """The row's prompt with what the environment says first: what the model reads."""

    @property
    def exhausted(self) -> bool:
        """Whether there were as many turns as there may be."""
        return len(self.turns) >= self.environment.config.max_turns

    def step(self, text: str, at: int) -> Turn:
        """Have the environment answer a turn that ends before the token `at`. Raises PluginError."""
        given = self._of("step", lambda: self.environment.step(text))
        if not isinstance(given, tuple) or len(given) != len(Step._fields):
            raise self._broken("step", f"gave {given!r:.60} where (messages, reward, done, numbers) is due")
        step = Step(*given)
        if not isinstance(step.done, bool):
            raise self._broken("step", f"gave done = {step.done!r:.60}, which is neither True nor False")
        if not isinstance(step.numbers, Mapping):
            raise self._broken("step", f"gave numbers = {step.numbers!r:.60} where a mapping is due")
        for name, value in {"reward": step.reward, **step.numbers}.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise self._broken("step", f"gave {name} = {value!r:.60}, which is no finite number")
        messages = self._messages("step", step.messages)
        if not messages and not step.done:
            raise self._broken("step", "gave no message, though the episode goes on")
        plain = {str(name): float(value) for name, value in step.numbers.items()}
        self.turns.append(Turn(messages, float(step.reward), step.done, plain, at))
        return self.turns[-1]

    def close(self) -> None:
        """Let go of the environment."""
        self._of("close", self.environment.close)

    def _messages(self, where: str, given: Any) -> list[Message]:
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise self._broken(where, f"gave {given!r:.60} where a list of messages is due")
        for one in given:
            fits = isinstance(one, Mapping) and one.get("role") in ROLES and isinstance(one.get("content"), str)
            if not fits:
                what = f"gave {one!r:.60} where a message of {', '.join(ROLES)} with text is due"
                raise self._broken(where, what)
        return [dict(one) for one in given]

    def _of(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (RlpipeError, Stopped):
            raise
        except Exception as error:
            raise self._broken(what, f"failed: {type(error).__name__}: {error}") from error

    def _broken(self, method: str, what: str) -> PluginError:
        name = self.environment.config.name
        where = f"environment={name}, row {self.id}"
        return PluginError(where, f"{method} {what}", "fix the environment, or choose another")


def begin(environments: Environments, prompt: Prompt, count: int) -> list[Episode]:
    """Begin `count` episodes of a prompt. Raises PluginError where they do not begin alike."""
    episodes = [Episode(environments(), prompt) for _ in range(count)]
    for one in episodes[1:]:
        if one.opening != episodes[0].opening:
            what = "reset said different things for the same row and seed"
            raise PluginError(f"environment={one.environment.config.name}, row {prompt.id}", what, "seed it by `seed`")
    return episodes


def opened(environments: Environments | None, prompts: Iterable[Prompt]) -> list[Prompt]:
    """Return prompts as the model reads them: with what the environment says first, where there is one."""
    if environments is None:
        return list(prompts)
    found = []
    for prompt in prompts:
        [episode] = begin(environments, prompt, 1)
        episode.close()
        found.append(episode.prompt)
    return found


def joined(prompt: Sequence[Message], opening: Sequence[Message]) -> list[Message]:
    """Put an opening behind a prompt; two turns of the user become one, for chat templates want turns to alternate."""
    if prompt and opening and prompt[-1]["role"] == opening[0]["role"] == "user":
        text = "\n\n".join(filter(None, (prompt[-1]["content"], opening[0]["content"])))
        return [*prompt[:-1], {**prompt[-1], "content": text}, *opening[1:]]
    return [*prompt, *opening]


def episode_seed(seed: int, id: str) -> int:
    """Return the seed of a row's episode: below 2³¹, as most generators of random numbers take it."""
    digest = hashlib.blake2b(f"{seed}\x1f{id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
