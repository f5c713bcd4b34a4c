"""Engines with weights, or a mind, of their own, as small as can be."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

from rlpipe.engines.base import SeparateConfig, SeparateEngine
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.engines.rows import Endings, Row
from rlpipe.engines.segments import Request, Segment, SegmentEngine
from rlpipe.engines.transformers import Transformers, TransformersConfig
from rlpipe.models.base import Loaded


class Copied(SeparateEngine):
    """Draws from a copy of the policy."""

    def __init__(self, config: SeparateConfig | None = None, stuck_after: int = 1000):
        """Take the policy's weights over `stuck_after` times, then no more."""
        super().__init__(config or SeparateConfig(name="copied"))
        self.stuck_after, self.synced, self.events = stuck_after, 0, []
        self.copy: Loaded | None = None

    def start(self, loaded: Loaded) -> None:
        self.events.append("start")

    def sync(self, loaded: Loaded) -> None:
        self.synced += 1
        self.events.append("sync")
        if self.copy is None or self.synced <= self.stuck_after:
            self.copy = dataclasses.replace(loaded, model=copy.deepcopy(loaded.model), engine=None)

    def wake(self) -> None:
        self.events.append("wake")

    def sleep(self) -> None:
        self.events.append("sleep")

    def close(self) -> None:
        self.events.append("close")

    def write(self, loaded: Loaded, rows: Sequence[Row], sampling: SamplingConfig, endings: Endings) -> None:
        assert self.copy is not None
        Transformers(TransformersConfig()).write(self.copy, rows, sampling, endings)


class Recited(SegmentEngine):
    """Says what a script holds at each place, in segments of some length, whatever it is asked."""

    def __init__(self, script: Sequence[int], prompt: int, length: int):
        super().__init__(SeparateConfig(name="recited"))
        self.script, self.prompt, self.length = list(script), prompt, length
        self.outdated, self.started = False, True
        self.requests: list[Request] = []
        self.strings: tuple[str, ...] = ()
        self.aborted = False

    def open(self, sampling: SamplingConfig, endings: Endings) -> None:
        self.strings = endings.strings

    def submit(self, requests: Sequence[Request]) -> None:
        self.requests += requests

    def finished(self) -> list[Segment]:
        request = self.requests.pop(0)
        place = len(request.ids) - self.prompt
        ids = self.script[place:][: min(self.length, request.room)] or self.script[-1:]
        return [Segment(request.row, ids, [-0.5] * len(ids))]

    def abort(self) -> None:
        self.aborted = True

    def start(self, loaded: Loaded) -> None: ...

    def sync(self, loaded: Loaded) -> None: ...

    def close(self) -> None: ...
