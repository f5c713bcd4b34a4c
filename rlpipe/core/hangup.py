"""A terminal that is gone, because its window was closed or a connection was lost, must not end what is under way."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


def hush() -> None:
    """Let what is said to a terminal that is gone go nowhere from now on."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


@contextmanager
def heard_or_not() -> Iterator[None]:
    """Say something in the body; whether the terminal is still there to show it makes no difference."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        hush()
