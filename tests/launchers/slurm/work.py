"""What test jobs do: steps that are saved when a stop is asked for, as a training does, without torch."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import time
from pathlib import Path

from rlpipe.core.errors import Stopped
from rlpipe.core.signals import stop_requests


class Steps:
    """So many steps, each a line in `steps.txt`; where a stop is asked for, the place is kept for the next attempt."""

    def __init__(self, folder: Path, count: int, pause: float = 0.1, workers: int = 0, child: bool = False):
        self.folder, self.count, self.pause, self.workers, self.child = folder, count, pause, workers, child

    def __call__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with stop_requests() as stop:
            begun = self._begin()
            helpers = [
                multiprocessing.get_context("fork").Process(target=_work, daemon=True) for _ in range(self.workers)
            ]
            for helper in helpers:
                helper.start()
            server = subprocess.Popen(["sleep", "600"]) if self.child else None
            for step in range(begun, self.count):
                time.sleep(self.pause)
                with open(self.folder / "steps.txt", "a") as lines:
                    lines.write(f"{step}\n")
                assert all(helper.is_alive() for helper in helpers), "a worker died"
                assert server is None or server.poll() is None or stop.requested, "the server died"
                if stop.requested and step + 1 < self.count:
                    (self.folder / "saved").write_text(str(step + 1))
                    self._end(helpers, server)
                    raise Stopped("", f"stopped after step {step}", "")
            self._end(helpers, server)

    def _begin(self) -> int:
        saved = self.folder / "saved"
        begun = int(saved.read_text()) if saved.exists() else 0
        with open(self.folder / "attempts.jsonl", "a") as lines:
            row = {"from": begun, "job": os.environ["SLURM_JOB_ID"], "node": os.environ["SLURMD_NODENAME"]}
            lines.write(json.dumps(row) + "\n")
        return begun

    def _end(self, helpers: list, server: subprocess.Popen | None) -> None:
        for helper in helpers:
            helper.terminate()
            helper.join(5)
            assert not helper.is_alive(), "a worker does not end"
        if server is not None:
            server.terminate()
            server.wait(5)

    @property
    def steps(self) -> list[int]:
        path = self.folder / "steps.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    @property
    def attempts(self) -> list[dict]:
        path = self.folder / "attempts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _work() -> None:
    while True:
        time.sleep(0.1)
