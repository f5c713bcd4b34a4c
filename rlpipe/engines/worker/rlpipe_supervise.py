"""Runs a command for as long as whoever asked for it lives: `rlpipe_supervise.py FOLDERS COMMAND …`.

The command gets a session of its own. When standard input closes, or the parent is gone in any other way (SIGKILL
included), all that it has started is ended. A parent that only ends the command says so by a byte on standard input;
without one it is gone, and FOLDERS are deleted in its place. Standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
PR_SET_PDEATHSIG = 1


def main(folders: str, command: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's to answer
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    orphaned = threading.Event()

    def orphan(*_: object) -> None:
        orphaned.set()
        _end(child)

    def listen() -> None:
        received = b""
        while part := os.read(0, 1024):
            received += part
        _end(child) if received else orphan()

    signal.signal(signal.SIGTERM, orphan)
    threading.Thread(target=listen, daemon=True).start()
    code = child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what it has left behind
    if orphaned.is_set():
        for folder in folders.split(os.pathsep):
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    timer = threading.Timer(GRACE, _kill, args=(child.pid,))
    timer.daemon = True
    timer.start()


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
