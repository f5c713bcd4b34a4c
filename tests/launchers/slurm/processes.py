"""Processes by their ids, and waiting for what they do."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def until(met: Callable[[], bool], seconds: float) -> None:
    assert wait(met, seconds), "SLURM did not come to the state that the test waits for"


def wait(met: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_ports(count: int) -> int:
    """Return the first of so many free ports in a row, below those that the kernel hands out."""
    while True:
        base = random.randrange(10000, 19000)
        held = [socket.socket() for _ in range(count)]
        try:
            for place, one in enumerate(held):
                one.bind(("127.0.0.1", base + place))
            return base
        except OSError:
            continue
        finally:
            for one in held:
                one.close()


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def files(pid: int) -> list[str]:
    """Return what a process has open."""
    try:
        return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Return whether a process is there; a zombie that nobody has reaped yet is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except OSError:
        return False
    return not state.startswith("Z")


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        send(pid, signal.SIGKILL)
