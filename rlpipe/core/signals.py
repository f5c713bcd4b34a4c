"""Stopping on request: the first Ctrl-C or SIGTERM asks, the step boundary answers.

    with stop_requests() as stop:
        … stop.requested …

`callbacks.StopAtStepBoundary` saves and ends training when it is asked.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SAID = b"\nstopping at the next step boundary; Ctrl-C again to stop at once\n"


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self, patience: float = 1.0):
        self.signal: signal.Signals | None = None
        self.patience = patience
        """Seconds in which a further Ctrl-C is the same one: launchers such as torchrun pass theirs on to us."""
        self._when = 0.0
        self._owner = os.getpid()
        self._old: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; raise KeyboardInterrupt at a later Ctrl-C."""
        if os.getpid() != self._owner:
            return
        if self.signal is None:
            self.signal = signal.Signals(number)
            self._when = time.monotonic()
            os.write(2, _SAID)  # print is not safe inside a signal handler
        elif number == signal.SIGINT and time.monotonic() - self._when >= self.patience:
            raise KeyboardInterrupt

    def install(self) -> None:
        """Start listening."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self.handle)

    def remove(self) -> None:
        """Put the old handlers back."""
        for number, old in self._old.items():
            # None stands for a handler that was not set from Python and cannot be put back from here
            signal.signal(number, signal.SIG_DFL if old is None else old)

    def leave_to_parent(self) -> None:
        """In a forked child: only its parent may end it, which still needs its data workers to reach a step boundary.

        Terminals send Ctrl-C, and some schedulers SIGTERM, to every process of a run.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if hasattr(signal, "sigwaitinfo"):  # macOS does not tell who sent a signal
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_heed_only, args=(os.getppid(),), daemon=True).start()


def _heed_only(parent: int) -> None:
    """Let a SIGTERM that comes from the parent end this process, or from anyone once the parent is gone."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent and os.getppid() == parent:
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)


_active: list[StopRequest] = []


def _after_fork_in_child() -> None:
    if _active:
        _active[-1].leave_to_parent()
        _active.clear()


if hasattr(os, "register_at_fork"):  # no fork on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


@contextmanager
def stop_requests(patience: float = 1.0) -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM of the body into `requested`.

    A SIGINT that comes `patience` seconds or more after it raises KeyboardInterrupt.

    Outside the main thread, where Python has no signals, nothing is ever asked.
    """
    request = StopRequest(patience)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    request.install()
    _active.append(request)
    try:
        yield request
    finally:
        if request in _active:
            _active.remove(request)
            request.remove()
