"""Many questions to one endpoint: several at a time, equal ones once, every reply kept as soon as it is there."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rlpipe.core import distributed
from rlpipe.core.errors import RecordError
from rlpipe.core.files import explained, may_change, remove, write_atomic
from rlpipe.rewards.judge.endpoint import Endpoint, Unanswered, Unreadable

Body = dict[str, Any]
Read = TypeVar("Read")

LOCKED = 60.0
"""Seconds to wait for another process that writes to the file of replies."""


class Asking:
    """Asks an endpoint, through a file of replies."""

    def __init__(self, endpoint: Endpoint, replies: Replies, concurrency: int):
        self.endpoint, self.replies, self.concurrency = endpoint, replies, concurrency

    def answers(self, bodies: Sequence[Body], read: Callable[[str], Read]) -> list[Read]:
        """Return what `read` makes of the reply to each question, in order.

        A reply that `read` refuses with ValueError is asked for again. Raises Unanswered or BudgetSpent for the first
        question that gets none in the end; the replies so far are kept.
        """
        return self._answers(bodies, read, lenient=False)  # type: ignore[return-value]

    def usable_answers(self, bodies: Sequence[Body], read: Callable[[str], Read]) -> list[Read | None]:
        """Like `answers`, with None where the endpoint answers, but never in a way that can be read.

        Such a reply is kept too: asked once more, also by a run that goes on, the question stays without an answer.
        """
        return self._answers(bodies, read, lenient=True)

    def _answers(self, bodies: Sequence[Body], read: Callable[[str], Read], lenient: bool) -> list[Read | None]:
        keys = [key(self.endpoint.url, body) for body in bodies]
        waiting = {name: body for name, body in zip(keys, bodies, strict=True) if not self._has(name, read, lenient)}
        if waiting:
            self._ask(waiting, read, lenient)
        return [_made(read, str(self.replies.find(name))) for name in keys]

    def _has(self, name: str, read: Callable[[str], Any], lenient: bool) -> bool:
        reply = self.replies.find(name)
        return reply is not None and (lenient or _made(read, reply) is not None)

    def _ask(self, bodies: dict[str, Body], read: Callable[[str], Any], lenient: bool) -> None:
        """Ask questions at once and keep the replies; the first that fails for good ends all of them.

        A run that is asked to stop does not wait for the answers that are on their way.
        """
        self.endpoint.stop.clear()
        left = list(reversed(bodies.items()))
        failed: list[BaseException] = []  # those that failed first tell why; what came after may be the ending of all

        def work() -> None:
            while not failed and not self.endpoint.stop.is_set():
                try:
                    name, body = left.pop()
                except IndexError:
                    return
                try:
                    self._ask_one(name, body, read, lenient)
                except BaseException as error:  # raised again by whoever waits
                    failed.append(error)
                    self.endpoint.stop.set()

        # Not an executor's threads: the interpreter waits for those at its end.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self.concurrency, len(bodies)))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self.endpoint.stop.set()
        for error in failed:
            if not isinstance(error, Unanswered | BudgetSpent):
                raise error
        if failed:
            raise failed[0]

    def _ask_one(self, name: str, body: Body, read: Callable[[str], Any], lenient: bool) -> None:
        if self.endpoint.stop.is_set():
            return
        try:
            text, _ = self.endpoint.ask(body, self.replies.spend, read)
        except Unreadable as error:
            # One that was interrupted on the way has not had all its tries.
            if not lenient or self.endpoint.stop.is_set():
                raise
            text = error.reply
        self.replies.keep(name, text)


def _made(read: Callable[[str], Read], reply: str) -> Read | None:
    try:
        return read(reply)
    except ValueError:
        return None


class BudgetSpent(Exception):
    """The run has made as many calls as it may."""


class Replies:
    """A SQLite file; safe to use from several threads and processes. Each reply is kept as soon as it is there.

    Every use raises RecordError where the file cannot be read or written; what changes it asks the lease of the run
    whose folder it lies in.
    """

    def __init__(self, file: Path, run: str, budget: int | None):
        self.file, self.run, self.budget = file, run, budget
        self._lock = threading.Lock()
        with explained(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        with self._readable():
            self._connection = sqlite3.connect(file, timeout=LOCKED, check_same_thread=False, isolation_level=None)
            self._connection.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
            self._connection.execute("CREATE TABLE IF NOT EXISTS calls (run TEXT PRIMARY KEY, count INTEGER NOT NULL)")

    def find(self, key: str) -> str | None:
        """Return the reply to a question, or None."""
        with self._readable():
            row = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, key: str, reply: str) -> None:
        """Keep a reply."""
        may_change(self.file)
        with self._readable():
            self._connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply))

    def spend(self) -> None:
        """Count a call. Raises BudgetSpent where the run may make none any more."""
        add = "INSERT INTO calls VALUES (?, 1) ON CONFLICT (run) DO UPDATE SET count = count + 1"
        bound = " WHERE count < ?" if self.budget is not None else ""
        values: tuple[Any, ...] = (self.run,) if self.budget is None else (self.run, self.budget)
        may_change(self.file)
        with self._readable():
            changed = self._connection.execute(add + bound, values).rowcount
        if changed == 0:
            raise BudgetSpent(f"the budget of {self.budget} calls is spent")

    @property
    def calls(self) -> int:
        """Calls that the run has made, over all its attempts."""
        with self._readable():
            row = self._connection.execute("SELECT count FROM calls WHERE run = ?", (self.run,)).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Use the file one thread at a time, and say what is wrong with it in words."""
        try:
            with self._lock:
                yield
        except sqlite3.OperationalError as error:  # the disk, or a process that was suspended in the midst of a write
            fix = "see to the disk, and that no other process has the file open; then give the same command again"
            raise RecordError(self.file, f"a judge's replies cannot be kept there ({error})", fix) from error
        except sqlite3.Error as error:
            fix = "delete it, and what it held is asked again; or name another file (cache)"
            raise RecordError(self.file, f"a judge's replies cannot be read from there ({error})", fix) from error


_own: dict[Path, Path] = {}
"""The files of replies that this process has made its own, by their folders."""


def own_file(folder: Path) -> Path:
    """Return a run's file of replies for this process alone: a copy of the last one's, under a name of its own.

    A process that was suspended in the midst of a write keeps the file that it has open locked for as long, and deletes
    the journal beside it when it goes on. What it had half written is rolled back in the copy. Several processes of one
    run share one file.
    """
    file = _own.get(folder)
    if file is not None and file.exists():
        return file
    found = sorted(folder.glob("replies*.sqlite"), key=_number)
    if not found or distributed.world_size() > 1:
        file = found[-1] if found else folder / "replies.sqlite"
    else:
        file = folder / f"replies.{_number(found[-1]) + 1}.sqlite"
        for part in ("-journal", ""):
            old = Path(f"{found[-1]}{part}")
            with explained(old, "read"):
                content = old.read_bytes() if old.exists() else None
            new = Path(f"{file}{part}")
            remove(new) if content is None else write_atomic(new, content)
        for old in found:
            remove(Path(f"{old}-journal"))
            remove(old)
    _own[folder] = file
    return file


def _number(file: Path) -> int:
    middle = file.name.removeprefix("replies").removesuffix(".sqlite").strip(".")
    return int(middle) if middle.isdigit() else 1


def key(url: str, body: dict[str, Any]) -> str:
    """Return the name of a question: a hash of everything that is sent, and of where it is sent to."""
    return hashlib.sha256(json.dumps([url, body], sort_keys=True).encode()).hexdigest()
