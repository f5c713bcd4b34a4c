"""`python -m MODULE …` in processes forked from one that has imported what is heavy, so that each starts in no time.

For tests of what a process does: its files, output, exit code, and what signals do to it. That the commands also start
in an interpreter that knows nothing yet is proved in tests/smoke/test_commands.py. The processes are forked as the
jobs of a sweep are (`rlpipe.launchers.warm`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rlpipe.launchers.warm import IMPORTS, Start, Warm

PARENT = Warm(IMPORTS)


class Process:
    """A process that runs a module as a script, on a terminal or with what is given to it; what it prints is kept."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        given: str = "",
        terminal: str | None = None,
    ):
        self.command = [module, *arguments]
        self._kept = tempfile.TemporaryDirectory()
        for name, text in (("stdin", given), ("stdout", ""), ("stderr", "")):
            (Path(self._kept.name) / name).write_text(text)
        files = (terminal or str(Path(self._kept.name) / name) for name in ("stdin", "stdout", "stderr"))
        environment = {**os.environ, **(env or {})}
        stdin, stdout, stderr = files
        start = Start(module, arguments, str(cwd or Path.cwd()), environment, (stdin, stdout, stderr))
        self._child = PARENT.start(start)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def stdout(self) -> str:
        return (Path(self._kept.name) / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (Path(self._kept.name) / "stderr").read_text()

    def poll(self) -> int | None:
        return self._child.poll()

    def wait(self, timeout: float = 300) -> int:
        """Wait for the end and return the exit code, or minus the signal that ended it."""
        code = self._child.wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.command, timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._child.kill()


def run(
    module: str,
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    given: str = "",
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run a module as a script to its end."""
    process = Process(module, *arguments, cwd=cwd, env=env, given=given)
    code = process.wait(timeout)
    return subprocess.CompletedProcess(process.command, code, process.stdout, process.stderr)


def ranks(count: int, module: str, *arguments: str, nodes: int = 1) -> list[Process]:
    """Start processes that find each other by the variables that `torchrun` gives, as on so many nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    local = count // nodes
    shared["LOCAL_WORLD_SIZE"] = str(local)
    each = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank % local)} for rank in range(count)]
    return [Process(module, *arguments, env=environment) for environment in each]
