"""The right to write into a folder: one process has it at a time, on one machine or on many that share the folder.

The folder's `.lease/` holds one file, named by a number that only grows: `7` while the seventh owner has the right,
`7.free` once it has let go. To take the right is to create the next number, which the file system grants to exactly
one. An owner that died leaves its number behind; its sign of life (`heartbeat`) tells. An owner that was only
suspended, and finds a higher number when it goes on, has lost the right: `check` says so, and `core.files` asks it
before anything in the folder is changed.
Such numbers are called fencing tokens (Kleppmann, Designing Data-Intensive Applications, chapter 8).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlpipe.core.errors import RecordError, advice
from rlpipe.core.files import explained, guard, unguard
from rlpipe.records import heartbeat
from rlpipe.records.heartbeat import Owner, Sign

FOLDER = ".lease"
_FREE = ".free"


class Taken(RecordError):
    """Another process, which is alive, has the right."""

    def __init__(self, folder: Path, owner: Owner):
        super().__init__(folder, f"{owner} is {owner.doing}", "wait for it or stop it, or name another run_dir")
        self.owner = owner


class Lost(RecordError):
    """This process had the right and was taken for dead."""


class Lease:
    """The right to write into a folder, until `release`."""

    def __init__(self, folder: Path, number: int, owner: Owner):
        self.folder, self.number, self.owner = folder, number, owner

    @property
    def _file(self) -> Path:
        return self.folder / FOLDER / str(self.number)

    def check(self) -> None:
        """Raise Lost when another process has taken over."""
        if self.held:
            return
        heartbeat.stop(self._file)
        successor = holder(self.folder)
        who = str(successor.owner) if successor else "another process"
        raise Lost(
            self.folder,
            f"{who} took this over, for this process gave no sign of life for {heartbeat.LIMIT:.0f} s (suspended?)",
            "nothing more is written from here; what was saved before serves the other one",
        )

    @property
    def held(self) -> bool:
        """Whether this process still has the right."""
        return _newest(self.folder) == (self.number, False)

    def release(self) -> None:
        """Let another process have the right; a second call, or one after the right was lost, does nothing."""
        heartbeat.stop(self._file)
        with explained(self.folder), suppress(FileNotFoundError):
            self._file.rename(self._file.with_name(f"{self.number}{_FREE}"))
        if _newest(self.folder)[0] <= self.number:  # else it is lost: what is still under way here must stay guarded
            unguard(self.folder, self.check)


def acquire(folder: Path, doing: str = "working on this run", patient: bool = True) -> Lease:
    """Take the right to write into a folder that is there.

    Raises Taken while another process has it. One on another machine that gives no sign of life is watched
    until it gives one or counts as dead, unless not `patient`.
    """
    first: Sign | None = None
    with explained(folder):
        (folder / FOLDER).mkdir(exist_ok=True)
        while True:
            newest, free = _newest(folder)
            sign = None if free or not newest else heartbeat.read(folder / FOLDER / str(newest))
            if sign is not None and sign.alive:
                moved = first is not None and (sign.owner, sign.beat) != (first.owner, first.beat)
                if sign.owner.is_here or moved or not patient:
                    raise Taken(folder, sign.owner)
                if first is None:
                    from rlpipe.core.terminal import say  # rich: not for those who only check

                    file = folder / FOLDER / str(newest)
                    what = f"{folder}: is {sign.owner} still {sign.owner.doing}? Waiting for a sign of life"
                    say(f"{what}, {heartbeat.LIMIT:.0f} s at most\n{advice(f'if it is surely gone, delete {file}')}")
                first = first or sign
                time.sleep(heartbeat.BEAT / 5)
                continue
            lease = _take(folder, newest + 1, Owner(doing=doing))
            if lease is not None:
                return lease


@contextmanager
def held(folder: Path, doing: str) -> Iterator[None]:
    """Have the right to a folder during the body. Raises Taken while another process has it."""
    lease = acquire(folder, doing, patient=False)
    try:
        yield
    finally:
        lease.release()


def holder(folder: Path) -> Sign | None:
    """Return the sign of life of the process that has the right, None where nobody alive has it."""
    newest, free = _newest(folder)
    sign = None if free or not newest else heartbeat.read(folder / FOLDER / str(newest))
    return sign if sign is not None and sign.alive else None


def _newest(folder: Path) -> tuple[int, bool]:
    """Return the highest number that was ever given (0: none), and whether its owner has let go."""
    try:
        names = [path.name for path in (folder / FOLDER).iterdir()]
    except FileNotFoundError:
        return 0, True
    newest = max((int(name.removesuffix(_FREE)) for name in names if name.removesuffix(_FREE).isdigit()), default=0)
    return newest, newest == 0 or f"{newest}{_FREE}" in names  # also beside a late taker's file of the same number


def _take(folder: Path, number: int, owner: Owner) -> Lease | None:
    """Create a number's file; None when another process was faster."""
    lease = Lease(folder, number, owner)
    try:
        heartbeat.write(lease._file, owner)
    except FileExistsError:
        return None
    if _newest(folder) != (number, False):  # the listing that showed the number as next was old
        heartbeat.stop(lease._file)
        lease._file.unlink(missing_ok=True)
        return None
    for older in (folder / FOLDER).iterdir():
        name = older.name.removesuffix(_FREE)
        if name.isdigit() and int(name) < number:
            older.unlink(missing_ok=True)
    guard(folder, lease.check)
    return lease
