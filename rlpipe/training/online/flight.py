"""A batch of completions on its way: drawn here or in a thread, scored as they come. Nothing here imports torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout
    from rlpipe.rewards.scoring import Scoring


class Flight:
    """This process's completions of one batch, on their way."""

    def __init__(self, draw: Callable[[], list[Rollout]], scoring: Scoring, after: int, beside: bool = False):
        """Draw, `beside` in a thread and else at once; `draw` adds to `scoring` what can be scored meanwhile.

        `after` is the number of the batch of prompts that comes next.
        """
        self.after = after
        self.seconds = 0.0
        """How long the drawing took."""
        self._scoring = scoring
        self._rollouts: list[Rollout] = []
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._drawn_beside, args=(draw,), daemon=True) if beside else None
        if self._thread is not None:
            self._thread.start()
        else:
            try:
                self._draw(draw)
            except BaseException:
                scoring.abandon()
                raise

    @classmethod
    def of(cls, rollouts: list[Rollout], scoring: Scoring, after: int) -> Self:
        """Return the flight of completions that have been drawn and not scored."""

        def draw() -> list[Rollout]:
            scoring.add(rollouts)
            return rollouts

        return cls(draw, scoring, after)

    def drawn(self) -> list[Rollout]:
        """Wait for the completions. Raises what drawing raised."""
        if self._thread is not None:
            self._thread.join()
        if self._failed is not None:
            raise self._failed
        return self._rollouts

    def landed(self) -> list[Rollout]:
        """Wait for the completions and what they earn. Raises what drawing or a reward raised."""
        drawn = self.drawn()
        self._scoring.finish(drawn)
        return drawn

    def settle(self) -> None:
        """Wait until nothing is under way; what failed is raised later, by who needs it."""
        if self._thread is not None:
            self._thread.join()
        self._scoring.wait()

    def abandon(self) -> None:
        """Let no more rewards be asked."""
        self._scoring.abandon()

    def _draw(self, draw: Callable[[], list[Rollout]]) -> None:
        started = time.perf_counter()
        self._rollouts = draw()
        self.seconds = time.perf_counter() - started

    def _drawn_beside(self, draw: Callable[[], list[Rollout]]) -> None:
        try:
            self._draw(draw)
        except BaseException as error:  # raised again by whoever waits
            self._failed = error
