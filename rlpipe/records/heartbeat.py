"""Signs of life: small files that say which process uses a folder, and that it still runs.

A process writes a file with its identity and renews the file's time every `BEAT` seconds. Whoever finds the file knows:

    same machine     the process is there, with the same start time, or it is not
    other machine    the file's time is younger than `LIMIT` seconds, or not

Times are compared with the file system's own clock, so machines need not agree on theirs. Nothing here relies on
file locks, which many shared file systems do not pass on between nodes.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

BEAT = 5.0
"""Seconds between two signs of life."""
LIMIT = 60.0
"""Seconds without one after which a process counts as dead. Longer than shared file systems cache a file's time."""


@functools.cache
def machine() -> str:
    """Name what process ids are unique in: this boot of this machine, and the container's own ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()  # no Linux: the name must do


def born(pid: int) -> str | None:
    """Return what tells a process from a later one with the same id; None where there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # another user's
        return ""
    return None if fields[0] in "ZX" else fields[19]  # killed and not yet collected is dead too


@dataclass(frozen=True)
class Owner:
    """A process, as others can recognise it."""

    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)
    born: str | None = field(default_factory=lambda: born(os.getpid()))
    machine: str = field(default_factory=lambda: machine())
    doing: str = "working on it"
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        """Name it for messages."""
        return f"process {self.pid} on {self.host}" if self.pid else "another process"

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine, so that its id tells whether it runs."""
        return self.machine == machine()

    @property
    def runs(self) -> bool:
        """Whether a process of this machine is still there."""
        return born(self.pid) == self.born


UNKNOWN = Owner(host="", pid=0, born=None, machine="", token="")
"""The owner of a file that is empty yet, or cannot be read."""


@dataclass(frozen=True)
class Sign:
    """A sign of life, as found."""

    owner: Owner
    beat: float
    """The file's time."""
    age: float
    """Seconds since then, by the file system's clock; of a time to come, since this process first saw it."""

    @property
    def alive(self) -> bool:
        """Whether its process is to be taken for alive."""
        return self.age <= LIMIT and (not self.owner.is_here or self.owner.runs)


def write(file: Path, owner: Owner) -> None:
    """Make the file and keep it young from now on. Raises FileExistsError and other OSErrors."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, json.dumps(asdict(owner)).encode())
        os.fsync(descriptor)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    _heart.add(file)


def stop(file: Path) -> None:
    """Keep the file young no longer: once this returns, its time stands still."""
    _heart.remove(file)


def read(file: Path) -> Sign | None:
    """Return the sign of life in a file; None where there is no file."""
    try:
        with open(file, "rb") as opened:  # opening makes shared file systems ask for the file's present time
            beat, content = os.fstat(opened.fileno()).st_mtime, opened.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fields = json.loads(content)
        owner = Owner(**fields) if set(fields) == set(asdict(UNKNOWN)) else UNKNOWN
    except (ValueError, TypeError):
        owner = UNKNOWN
    return Sign(owner, beat, _age(file, beat, clock(file.parent)))


_later_than_now: dict[Path, tuple[float, float]] = {}
"""Files whose time lies in the future: that time, and when it was first seen by the clock that nobody sets."""


def _age(file: Path, beat: float, now: float) -> float:
    """Return the seconds since a sign of life; a clock that was set back must not make one count for ever."""
    if beat <= now:
        return now - beat
    known, since = _later_than_now.get(file, (beat, time.monotonic()))
    since = since if known == beat else time.monotonic()
    _later_than_now[file] = (beat, since)
    return time.monotonic() - since


def clock(folder: Path) -> float:
    """Return the time by the clock that stamps a folder's files."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".clock-") as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()  # one who cannot write here only looks, and takes nothing over


class _Heart:
    """Renews the time of all files of this process, in one thread."""

    def __init__(self) -> None:
        self._files: set[Path] = set()
        self._thread: threading.Thread | None = None
        self._change = threading.Lock()
        self._more = threading.Event()

    def add(self, file: Path) -> None:
        with self._change:
            self._files.add(file)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self._thread.start()
        self._more.set()

    def remove(self, file: Path) -> None:
        with self._change:
            self._files.discard(file)

    def _beat(self) -> None:
        while True:
            self._more.wait(BEAT)
            self._more.clear()
            with self._change:
                if not self._files:
                    self._thread = None
                    return
                files = list(self._files)
            for file in files:
                self._renew(file)

    def _renew(self, file: Path) -> None:
        with self._change:  # so that no beat comes after `remove`
            if file in self._files:
                with suppress(OSError):  # gone or out of reach: whoever relies on it looks for itself (`Lease.check`)
                    os.utime(file)


_heart = _Heart()


def _after_fork_in_child() -> None:
    global _heart
    _heart = _Heart()  # the parent's files are the parent's to renew


if hasattr(os, "register_at_fork"):  # no fork on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
