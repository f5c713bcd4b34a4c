"""A process that may hang, crash or run out of memory without taking the run with it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from typing import Any

from rlpipe.core.errors import PluginError

START = 120.0
"""Seconds that the process may take to import what it needs."""


class Guard:
    """Sends questions to `python -m <module>`, one line of JSON each, and waits for the answers.

    The process says one line when it is ready. It is started at the first question, and anew as soon as it
    died or was killed for taking too long.
    """

    def __init__(self, module: str):
        self.module = module
        self.process: subprocess.Popen[str] | None = None
        self.answers: queue.Queue[str | None] = queue.Queue()
        self.ready = False

    def ask(self, question: dict[str, Any], timeout: float) -> dict[str, Any] | None:
        """Return the answer, or None when it took more than `timeout` seconds or the process died of it.

        Raises PluginError when the process cannot be started.
        """
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = self.answers.get(timeout=timeout)
        except (queue.Empty, BrokenPipeError):
            line = None
        if line is None:
            self.close()
            self._start()  # importing what it needs takes longer than the next question may wait
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]

    def _running(self) -> subprocess.Popen[str]:
        if self.process is not None and self.process.poll() is not None:
            self.close()
        process = self.process or self._start()
        if not self.ready:
            try:
                self.ready = self.answers.get(timeout=START) is not None
            except queue.Empty:
                self.ready = False
        if not self.ready:
            self.close()
            raise PluginError(self.module, "its process did not start", f"run `python -m {self.module}` to see why")
        return process

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        atexit.register(process.kill)
        self.process, self.answers, self.ready = process, queue.Queue(), False
        threading.Thread(target=_listen, args=(process, self.answers), daemon=True).start()
        return process


def _listen(process: subprocess.Popen[str], answers: queue.Queue[str | None]) -> None:
    """Pass lines on as they come, then None: reading them with a time limit takes a thread."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError):  # closed while being read
        for line in process.stdout:
            answers.put(line)
    answers.put(None)
