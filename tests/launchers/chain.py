"""Jobs whose every step depends on all before it, so that one that is lost or comes twice shows in the end."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path

from rlpipe.core.errors import Stopped
from rlpipe.core.files import write_atomic
from rlpipe.core.signals import stop_requests

EVERY = 5
"""Steps between two checkpoints."""


class Chain:
    """So many steps, with checkpoints. With `waits` it waits in the midst to be let go, or to be stopped.

    What the test and the job say to each other is outside of its folder, which may be on another machine.
    """

    def __init__(
        self,
        folder: Path,
        outside: Path,
        count: int = 40,
        pause: float = 0.01,
        saving: float = 0.0,
        waits: bool = True,
    ):
        self.folder, self.outside = folder, outside
        self.count, self.pause, self.saving, self.waits = count, pause, saving, waits

    def let_go(self) -> None:
        (self.outside / "go").touch()

    def __call__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.outside / "busy", "a") as busy, stop_requests() as stop:
            fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two attempts at once fail
            step, value = self._begin()
            while step < self.count:
                if step == self.count // 2:
                    (self.outside / "midst").touch()
                    while self.waits and not stop.requested and not (self.outside / "go").exists():
                        time.sleep(0.02)
                if stop.requested:
                    time.sleep(self.saving)
                    self._save(step, value)
                    raise Stopped("", f"stopped before step {step}", "")
                time.sleep(self.pause)
                step, value = step + 1, _next(step, value)
                if step % EVERY == 0:
                    self._save(step, value)
            (self.folder / "weights").write_text(value)

    def _begin(self) -> tuple[int, str]:
        saved = self.folder / "checkpoints" / "saved.json"
        saved.parent.mkdir(exist_ok=True)
        step, value = json.loads(saved.read_text()) if saved.exists() else (0, "")
        with open(self.folder / "attempts", "a") as attempts:
            attempts.write(f"{step} {os.getpid()}\n")
        return step, value

    def _save(self, step: int, value: str) -> None:
        write_atomic(self.folder / "checkpoints" / "saved.json", json.dumps([step, value]))

    @property
    def is_in_the_midst(self) -> bool:
        return (self.outside / "midst").exists()

    @property
    def whole(self) -> bool:
        """Whether it ended as an undisturbed one does."""
        value = ""
        for step in range(self.count):
            value = _next(step, value)
        weights = self.folder / "weights"
        return weights.exists() and weights.read_text() == value

    @property
    def begins(self) -> list[int]:
        """The steps that attempts began at."""
        path = self.folder / "attempts"
        return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


def _next(step: int, value: str) -> str:
    return hashlib.sha256(f"{step} {value}".encode()).hexdigest()
