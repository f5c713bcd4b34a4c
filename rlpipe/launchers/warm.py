"""Processes that are forked from one that has imported what runs import, so that each starts in no time.

    python -m rlpipe.launchers.warm DESCRIPTOR MODULE …

The parent imports other people's modules and no more: rlpipe and plugins are imported by each process, as they are by
then. It starts no thread of Python's (those that OpenBLAS and jemalloc start, they end around a fork themselves), and
looks at no GPU: what a process may see of them stands in its environment before anything there looks. It fears no
signal, and ends with whoever started it; the processes go on.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

LIGHT = ("hydra.main", "hydra._internal.hydra", "hydra.core.override_parser.overrides_parser")
"""Other people's modules that any job of a sweep imports."""
IMPORTS = (
    *(*LIGHT, "torch", "torch.distributed", "datasets", "peft", "scipy.stats"),
    *("transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto"),
    *("trl.trainer.dpo_trainer", "trl.trainer.sft_trainer"),
)
"""Those that a run of rlpipe imports."""
_NO_DRIVER = "PYTORCH_NVML_BASED_CUDA_CHECK"
"""Has torch ask NVML whether there are GPUs: the driver's own answer would keep forked processes from using them."""
_DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2)
_READY = "ready"


@dataclass(frozen=True)
class Start:
    """What a process is to be: `python -m MODULE ARGUMENTS`, at the head of a session of its own."""

    module: str
    arguments: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str]
    files: tuple[str, str, str]
    """Standard input, output and error; what is there already is added to."""
    ignored: tuple[signal.Signals, ...] = ()
    """Signals that it ignores until it listens itself."""


class Child:
    """A forked process: as much of `subprocess.Popen` as launchers use. None of it is for handlers of signals."""

    def __init__(self, pid: int, parent: Warm):
        self.pid, self._parent = pid, parent

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that ended it; None while it runs, or if nobody knows."""
        return self._parent.code(self.pid, 0.0)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, at most `timeout` seconds, and return what `poll` does."""
        return self._parent.code(self.pid, timeout)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Warm:
    """A parent of processes, which is started when it is first needed, and again where it is gone."""

    def __init__(self, imports: Sequence[str]):
        self._imports = imports
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._ready = False
        self._codes: dict[int, int] = {}

    def ready(self, timeout: float | None = 0.0) -> bool:
        """Return whether it has imported all, after at most `timeout` seconds. Raises OSError where it cannot."""
        if self._ready:
            self._read(0.0)  # it may be gone by now
        if self._connection is None:
            self._begin()
        if not self._ready:
            self._read(timeout)
        if self._connection is None:
            code = self._process.wait() if self._process is not None else None
            raise OSError(f"what jobs are forked from ended while it began (exit code {code}); its log says more")
        return self._ready

    def start(self, start: Start) -> Child:
        """Start a process, once the parent is ready. Raises OSError where that cannot be."""
        self.ready(None)
        assert self._connection is not None
        try:
            self._connection.send(asdict(start))
            while isinstance(answer := self._connection.recv(), tuple):
                self._note(answer)
        except (EOFError, ConnectionError) as error:
            self._forget()
            raise OSError("what jobs are forked from is gone") from error
        if isinstance(answer, OSError):
            raise answer
        return Child(answer, self)

    def code(self, pid: int, timeout: float | None) -> int | None:
        """Return the exit code of a process that it started, after at most `timeout` seconds."""
        while pid not in self._codes and self._read(timeout):
            pass
        return self._codes.get(pid)

    def close(self) -> None:
        """End the parent; its processes go on."""
        self._forget()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _begin(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rlpipe.launchers.warm", str(theirs.fileno()), *self._imports],
                env={**os.environ, _NO_DRIVER: "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._connection, self._ready = ours, False

    def _read(self, timeout: float | None) -> bool:
        """Take in what the parent says within `timeout` seconds; return whether it said anything."""
        try:
            if self._connection is None or not self._connection.poll(timeout):
                return False
            said = self._connection.recv()
        except (EOFError, ConnectionError):
            self._forget()
            return False
        self._note(said)
        return True

    def _note(self, said: Any) -> None:
        if said == _READY:
            self._ready = True
        else:
            pid, code = said
            self._codes[pid] = code

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._ready = None, False


def main(arguments: list[str]) -> int:
    """Be the parent that answers through a descriptor, or in a forked process what it was started for."""
    connection = Connection(int(arguments[0]))
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _DEAF}
    for name in arguments[1:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # to walk over what was imported would copy it into every process
    start = _serve(connection, before)
    if start is not None:
        _become(start)
    return 0


def _serve(connection: Connection, handlers: Mapping[signal.Signals, object]) -> Start | None:
    """Fork a process for each request. Returns it in that process, and None in the parent once nobody asks any more."""
    woken, wake = socket.socketpair()
    with connection, woken, wake:
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        try:
            connection.send(_READY)
            while True:
                ready = wait([connection, woken])
                if woken in ready:
                    woken.recv(4096)
                    for one in _ended():
                        connection.send(one)
                if connection in ready:
                    start = Start(**connection.recv())
                    answer = _fork(start, handlers)
                    if answer is None:
                        return start
                    connection.send(answer)
        except (EOFError, ConnectionError):
            return None


def _ended() -> Iterator[tuple[int, int]]:
    """Yield the processes that have ended, with their exit codes."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found[0], os.waitstatus_to_exitcode(found[1])


def _fork(start: Start, handlers: Mapping[signal.Signals, object]) -> int | OSError | None:
    """Fork, and return in the parent the new process's id once it stands by itself, or why it cannot; None in it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            _stand_alone(start, handlers)
        except OSError as error:
            os.write(writer, str(error).encode())
            os._exit(1)
        os.close(writer)
        return None
    os.close(writer)
    with os.fdopen(reader, "rb") as words:
        refused = words.read()
    if not refused:
        return pid
    os.waitpid(pid, 0)
    return OSError(refused.decode())


def _stand_alone(start: Start, handlers: Mapping[signal.Signals, object]) -> None:
    """Take the session, place, files and signals of a process of its own. Raises OSError."""
    os.setsid()
    os.chdir(start.cwd)
    for number, name in enumerate(start.files):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND | os.O_CREAT
        file = os.open(name, flags | os.O_NOCTTY, 0o666)
        os.dup2(file, number)
        os.close(file)
    signal.set_wakeup_fd(-1)
    for number, handler in {**handlers, signal.SIGCHLD: signal.SIG_DFL}.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
    for number in start.ignored:
        signal.signal(number, signal.SIG_IGN)


def _become(start: Start) -> None:
    """Be what `python -m` is in this environment; whatever ends the module ends the process."""
    os.environ.clear()
    os.environ.update(start.environment)
    sys.stdin = os.fdopen(0, encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False)
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", buffering=1, encoding=old.encoding, errors=old.errors, closefd=False)
        for number, old in ((1, sys.stdout), (2, sys.stderr))
    )
    exported = start.environment.get("PYTHONPATH", "")
    if not sys.flags.safe_path:
        sys.path[0] = start.cwd
    sys.path[1:1] = [folder for folder in exported.split(os.pathsep) if folder and folder not in sys.path]
    sys.argv = [start.module, *start.arguments]
    for name in [name for name in sys.modules if name.partition(".")[0] == "rlpipe"]:
        del sys.modules[name]
    try:
        runpy.run_module(start.module, run_name="__main__", alter_sys=True)
        code: Any = 0
    except SystemExit as exits:
        code = exits.code
        if not isinstance(code, int | None):
            raise  # Python itself says the words
    _leave(code or 0)


def _leave(code: int) -> NoReturn:
    """End as Python does, but for taking its modules apart: that would copy all that was imported into this process."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
