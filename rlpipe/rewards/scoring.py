"""Scoring completions while others are still drawn, by the rewards that can (`Reward.scores_beside`)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout, Score
    from rlpipe.rewards.combine import Rewards


class Scoring:
    """Scores the completions of one batch: `add` them as they come, then `finish` with all of them.

    What a completion earns is the same as by `Rewards.score` or, where completions are compared, `Rewards.compare`.
    """

    def __init__(self, rewards: Rewards, compares: bool = False):
        """Prepare; with `compares` neighbours are compared, two by two, in place of being scored."""
        self._rewards, self._compares = rewards, compares
        self.beside = [name for name, reward in rewards.rewards.items() if reward.scores_beside]
        """The rewards that score while others are still drawn."""
        self._waiting: SimpleQueue[Sequence[Rollout] | None] = SimpleQueue()
        self._found: dict[str, dict[int, Score]] = {name: {} for name in self.beside}
        self._failed: BaseException | None = None
        self._thread: threading.Thread | None = None

    def add(self, rollouts: Sequence[Rollout]) -> None:
        """Begin to score some completions; may be called from any one thread."""
        if self.beside and rollouts:
            if self._thread is None:
                # Not an executor's thread: the interpreter waits for those at its end.
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._waiting.put(rollouts)

    def wait(self) -> None:
        """Wait until what was added is scored; nothing can be added any more."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()

    def abandon(self) -> None:
        """Begin nothing more; what is under way ends by itself."""
        while True:
            try:
                self._waiting.get_nowait()
            except Empty:
                break
        self._waiting.put(None)

    def finish(self, rollouts: Sequence[Rollout]) -> None:
        """Wait for what was added, score what is left, and fill in what each of `rollouts` earned.

        Raises what the rewards raise, PluginError where one breaks its contract.
        """
        self.wait()
        if self._failed is not None:
            raise self._failed
        if self._compares:
            self._rewards.compare([one for one in rollouts if not one.scores])
            return
        found: dict[str, list[Score]] = {}
        for name in self.beside:
            left = [one for one in rollouts if id(one) not in self._found[name]]
            self._note(name, left)
            found[name] = [self._found[name][id(one)] for one in rollouts]
        self._rewards.score(rollouts, found)

    def _work(self) -> None:
        """Score whatever has come since the last time, so that a slow endpoint is asked many questions at once."""
        try:
            while (rollouts := self._come()) is not None:
                if self._compares:
                    self._rewards.compare(rollouts)
                for name in () if self._compares else self.beside:
                    self._note(name, rollouts)
        except BaseException as error:  # raised again by whoever waits
            self._failed = error

    def _come(self) -> list[Rollout] | None:
        """Wait for completions, and return all that there are; None where there will be none."""
        first = self._waiting.get()
        if first is None:
            return None
        come = list(first)
        while True:
            try:
                further = self._waiting.get_nowait()
            except Empty:
                return come
            if further is None:
                self._waiting.put(None)
                return come
            come += further

    def _note(self, name: str, rollouts: Sequence[Rollout]) -> None:
        if rollouts:
            scores = self._rewards.scores(name, rollouts)
            self._found[name] |= {id(one): score for one, score in zip(rollouts, scores, strict=True)}
