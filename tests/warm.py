"""`python -m MODULE …` in processes forked from one that has imported what is heavy, so that each starts in no time.

For tests of what a process does: its files, output, exit code, and what signals do to it. That the commands also start
in an interpreter that knows nothing yet is proved in tests/smoke/test_commands.py.
"""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

HEAVY = (
    *("hydra.main", "hydra._internal.hydra", "hydra.core.override_parser.overrides_parser"),
    *("torch", "torch.distributed", "datasets", "peft", "scipy.stats", "transformers.models.llama.modeling_llama"),
    *("trl.trainer.dpo_trainer", "trl.trainer.sft_trainer", "transformers.models.auto.modeling_auto"),
)
"""Other people's modules that a run imports: rlpipe itself is imported by each process, as the test left it."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(list(HEAVY))


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
        files = [terminal or str(Path(self._kept.name) / name) for name in ("stdin", "stdout", "stderr")]
        starting = (self.command, str(cwd or Path.cwd()), {**os.environ, **(env or {})}, files)
        self._process = _SERVER.Process(target=_become, args=starting)
        self._process.start()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    @property
    def stdout(self) -> str:
        return (Path(self._kept.name) / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (Path(self._kept.name) / "stderr").read_text()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = 300) -> int:
        """Wait for the end and return the exit code, or minus the signal that ended it."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.command, timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


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


def _become(command: list[str], cwd: str, environment: dict[str, str], files: list[str]) -> None:
    """Be what `python -m` with this command is, with these files as standard input, output and error."""
    gc.freeze()  # to walk over what was imported would copy it into this process
    for number, name in enumerate(files):
        file = os.open(name, (os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND) | os.O_NOCTTY)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder not in sys.path]
    sys.argv = list(command)
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves without them
