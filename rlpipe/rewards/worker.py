"""The process on the other side of a guard (`guard.py`): a line of JSON in, a line of JSON out, each in its time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

MEMORY = 4 * 2**30
"""Bytes of address space that the process may take."""


class Late(BaseException):
    """The time is over; no library catches it as an error of its own."""


def in_time(call: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return what a call gives, `{"late": true}` after so many seconds of processor time.

    No other load on the machine shortens them.
    """

    def late(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGVTALRM, late)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 0.1)
        try:
            return call()
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except Late:
        return {"late": True}


def serve(start: Callable[[], Any], answer: Callable[..., dict[str, Any]]) -> None:
    """Start, say `{}`, and answer lines until there are no more; a line holds the arguments of `answer`."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system can limit memory
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # what libraries print must not get between the answers
    logging.disable(logging.CRITICAL)
    start()

    def say(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    say({})
    for line in sys.stdin:
        say(answer(**json.loads(line)))
