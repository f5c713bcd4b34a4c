"""Stopping on request: the first Ctrl-C, SIGTERM, SIGHUP or SIGQUIT asks.

    with stop_requests(at_once=True) as stop:
        …                       a request raises Interrupted here, wherever the body is
        with stop.deferred():
            … stop.requested …  a request is noted here, for the body to answer

What a run writes survives its end at any moment, so that all but training can be broken off; in training the step
boundary answers (`callbacks.StopAtStepBoundary`), where all is saved.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from rlpipe.core import distributed
from rlpipe.core.hangup import hush

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name))
_SAID = b"\nstopping at the next step boundary; Ctrl-C again to stop at once\n"
_SAID_AT_ONCE = b"\nstopping; what was saved so far is kept\n"


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop where nothing has to be saved first."""


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self, patience: float = 1.0, at_once: bool = False):
        self.signal: signal.Signals | None = None
        self.at_once = at_once
        """Whether a request raises Interrupted; else it is only noted."""
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
        """Note the first signal, or raise Interrupted at it; raise KeyboardInterrupt at a later Ctrl-C."""
        if os.getpid() != self._owner:
            return
        if self.signal is None:
            self.signal = signal.Signals(number)
            self._when = time.monotonic()
            hush()  # the terminal may be gone: that is what SIGHUP tells
            with suppress(OSError):
                os.write(2, _SAID_AT_ONCE if self.at_once else _SAID)  # print is not safe inside a signal handler
            if self.at_once:
                raise Interrupted
        elif number == signal.SIGINT and time.monotonic() - self._when >= self.patience:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self, together: bool = False) -> Iterator[None]:
        """Only note a request during the body; one that the body has not answered raises Interrupted after it.

        `together` says that all processes of the run come here, so that a request to one of them is one to all.
        """
        before, self.at_once = (self.at_once, self.requested), False
        try:
            yield
        finally:
            self.at_once = before[0]
        requested = distributed.any_rank(self.requested) if together else self.requested
        if self.at_once and requested and not before[1]:
            raise Interrupted

    def install(self) -> None:
        """Start listening; what is ignored from outside (`nohup`) stays ignored, but for Ctrl-C."""
        for number in SIGNALS:
            if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) != signal.SIG_IGN:
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
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
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


def heed() -> None:
    """Raise Interrupted again where a library has swallowed it; long work calls this now and then."""
    if _active and _active[-1].at_once and _active[-1].requested:
        raise Interrupted


def _after_fork_in_child() -> None:
    if _active:
        _active[-1].leave_to_parent()
        _active.clear()


if hasattr(os, "register_at_fork"):  # no fork on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


@contextmanager
def stop_requests(patience: float = 1.0, at_once: bool = False) -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM, SIGHUP or SIGQUIT of the body into `requested`; with `at_once` raise Interrupted.

    A SIGINT that comes `patience` seconds or more after it raises KeyboardInterrupt.

    Outside the main thread, where Python has no signals, nothing is ever asked.
    """
    request = StopRequest(patience, at_once)
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
