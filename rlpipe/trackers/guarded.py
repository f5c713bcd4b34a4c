"""The one place that decides what a tracker's failure means, for every tracker.

One that cannot start stops the run: better now than after a night without curves. One that fails
later is switched off with one clear line: the run's own record has everything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlpipe.core.errors import RlpipeError
from rlpipe.trackers.base import Artifact, RunIdentity, Tracker

_log = logging.getLogger(__name__)


UNNOTICED, IN_HAND = 2, 10.0
"""Of what was sent before a failure, how many rows at the end, and of how many seconds, may be lost."""


class Guarded(Tracker):
    """A tracker that can be relied upon: see the module's docstring.

    `logged_until` is the last step that an earlier attempt of the run logged; numbers of steps up to it
    are not sent again, unless the destination says that it lacks them.
    """

    def __init__(self, tracker: Tracker, logged_until: int = -1):
        super().__init__(tracker.config)
        self.tracker = tracker
        self.logged_until = logged_until
        self.working = False
        """Whether the tracker has started and has not failed since."""
        self.kept_until: int | None = None
        """Where it has failed: the last step that it surely has all the same."""
        self._sent: list[tuple[float, int]] = []

    def start(self, run: RunIdentity, config: dict[str, Any]) -> None:
        """Start the tracker, or raise RlpipeError."""
        try:
            self.tracker.start(run, config)
        except RlpipeError:
            raise
        except Exception as error:
            raise RlpipeError(
                f"tracker={self.config.name}",
                f"cannot start: {_in_one_line(error)}",
                "fix that, or run with tracker=none (the run's own record keeps all numbers)",
            ) from error
        self.working = True
        confirmed = self._attempt(self.tracker.confirmed)
        if confirmed is not None:
            self.logged_until = min(self.logged_until, confirmed)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Show numbers of a step, unless an earlier attempt has."""
        if step > self.logged_until:
            self._attempt(self.tracker.log, metrics, step)
            self._sent.append((time.monotonic(), step))

    def table(self, name: str, rows: Sequence[dict[str, Any]], step: int) -> None:
        """Show rows of a step, unless an earlier attempt has."""
        if step > self.logged_until:
            self._attempt(self.tracker.table, name, rows, step)

    def evaluation(
        self, name: str, before: Sequence[dict[str, Any]] | None, after: Sequence[dict[str, Any]] | None, step: int
    ) -> None:
        """Show an evaluation's rows; it is measured once, whichever attempt does."""
        self._attempt(self.tracker.evaluation, name, before, after, step)

    def starts_from(self, artifact: Artifact) -> None:
        """Show which model the run starts from."""
        self._attempt(self.tracker.starts_from, artifact)

    def store(self, artifact: Artifact) -> None:
        """Keep a folder of weights."""
        self._attempt(self.tracker.store, artifact)

    def summary(self, metrics: Mapping[str, float | str | None]) -> None:
        """Show what the run ends with."""
        self._attempt(self.tracker.summary, metrics)

    def finish(self, ok: bool) -> None:
        """Close the tracker."""
        self._attempt(self.tracker.finish, ok)
        self.working = False

    def _attempt(self, action: Callable[..., Any], *arguments: Any) -> Any:
        if not self.working:
            return None
        try:
            return action(*arguments)
        except Exception as error:
            self.working, self.kept_until = False, self._surely_kept()
            _log.warning(
                "tracker=%s failed and is switched off: %s; the run goes on, and its own record keeps all numbers",
                self.config.name,
                _in_one_line(error),
            )

    def _surely_kept(self) -> int:
        """Return the last step that got through before a failure that may have been noticed late.

        A service that has died takes a row or two more without a word, and may have had some in its hands.
        """
        now = time.monotonic()
        early = [step for when, step in self._sent[:-UNNOTICED] if now - when > IN_HAND]
        return max(early, default=min([self.logged_until, *(step - 1 for _, step in self._sent)]))


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
