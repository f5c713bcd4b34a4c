"""Engines that write a completion in segments: each ends where it may have ended, or called a tool.

What a segment says is handed, token by token, to the same rules by which every completion ends (`rows.Endings`), so
masks, budgets and answers of tools are the same as where the policy itself draws. Where a row goes on, the next segment
is asked for with all that stands there already; an engine that keeps keys and values of a prefix finds them again.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.core.errors import ModelError
from rlpipe.engines.base import SeparateEngine
from rlpipe.engines.transformers import diverged

if TYPE_CHECKING:
    from rlpipe.engines.rollout import SamplingConfig
    from rlpipe.engines.rows import Endings, Row
    from rlpipe.models.base import Loaded


@dataclass(frozen=True)
class Request:
    """What the next segment of a row is drawn from."""

    row: int
    """The row's place among those that are written together."""
    ids: list[int]
    """The prompt, and all that stands behind it already."""
    room: int
    """How many tokens may follow."""
    seed: int
    """Decides what is drawn, alone with `ids`: 63 bits."""


@dataclass(frozen=True)
class Segment:
    """What was drawn for a request."""

    row: int
    ids: list[int]
    logps: list[float]
    """Log-probability of each token, in the distribution that it was drawn from."""


class SegmentEngine(SeparateEngine):
    """What draws segments, many at a time."""

    def write(self, loaded: Loaded, rows: Sequence[Row], sampling: SamplingConfig, endings: Endings) -> None:
        """Write each row to its end, segment by segment; rows do not wait for each other."""
        self.open(sampling, endings)
        waiting = set(range(len(rows)))
        try:
            self.submit([_request(place, row) for place, row in enumerate(rows)])
            while waiting:
                again = []
                for segment in self.finished():
                    row = rows[segment.row]
                    _take(row, segment, endings, greedy=sampling.temperature == 0)
                    if row.finish is None:
                        again.append(_request(segment.row, row))
                    else:
                        waiting.discard(segment.row)
                self.submit(again)
        except BaseException:
            self.abort()
            raise

    @abstractmethod
    def open(self, sampling: SamplingConfig, endings: Endings) -> None:
        """Prepare for requests that are drawn alike; they may end at `endings.tokens` and behind `endings.strings`."""

    @abstractmethod
    def submit(self, requests: Sequence[Request]) -> None:
        """Begin to draw."""

    @abstractmethod
    def finished(self) -> Iterable[Segment]:
        """Wait until segments are finished, and return them."""

    @abstractmethod
    def abort(self) -> None:
        """Forget all requests."""


def _request(place: int, row: Row) -> Request:
    key = f"{row.seed}\x1f{row.index}\x1f{row.id}\x1f{len(row.ids)}".encode()
    seed = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1
    return Request(place, row.prompt_ids + row.ids, row.room - len(row.ids), seed)


def _take(row: Row, segment: Segment, endings: Endings, greedy: bool) -> None:
    """Let a row take a segment up to where it ends, or to an answer, which it takes too."""
    if not segment.ids:
        what = f"the engine ended a completion of prompt {row.id} without a token"
        raise ModelError("engine", what, "look into the engine's log")
    for token, logp in zip(segment.ids, segment.logps, strict=True):
        if logp != logp:
            raise diverged(row)
        if endings(row, token, 0.0 if greedy else logp) is not None:
            return
        if row.given:  # what the engine wrote behind the call knows no answer
            break
    while row.given and row.finish is None:
        endings(row, 0, 0.0)
