"""What a judge has said before, by the content of the question, and how many calls a run has made."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

from rlpipe.core.errors import RecordError


class BudgetSpent(Exception):
    """The run has made as many calls as it may."""


class Replies:
    """A SQLite file; safe to use from several threads and processes. Each reply is kept as soon as it is there."""

    def __init__(self, file: Path, run: str, budget: int | None):
        self.run, self.budget = run, budget
        self._lock = threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(file, timeout=60, check_same_thread=False, isolation_level=None)
            self._connection.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
            self._connection.execute("CREATE TABLE IF NOT EXISTS calls (run TEXT PRIMARY KEY, count INTEGER NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise RecordError(
                f"{file}: cannot keep a judge's replies there: {error}\n    → name another file, or delete it"
            ) from error

    def find(self, key: str) -> str | None:
        """Return the reply to a question, or None."""
        with self._lock:
            row = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, key: str, reply: str) -> None:
        """Keep a reply."""
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply))

    def spend(self) -> None:
        """Count a call. Raises BudgetSpent where the run may make none any more."""
        add = "INSERT INTO calls VALUES (?, 1) ON CONFLICT (run) DO UPDATE SET count = count + 1"
        bound = " WHERE count < ?" if self.budget is not None else ""
        values: tuple[Any, ...] = (self.run,) if self.budget is None else (self.run, self.budget)
        with self._lock:
            changed = self._connection.execute(add + bound, values).rowcount
        if changed == 0:
            raise BudgetSpent(f"the budget of {self.budget} calls is spent")

    @property
    def calls(self) -> int:
        """Calls that the run has made, over all its attempts."""
        with self._lock:
            row = self._connection.execute("SELECT count FROM calls WHERE run = ?", (self.run,)).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def key(url: str, body: dict[str, Any]) -> str:
    """Return the name of a question: a hash of everything that is sent, and of where it is sent to."""
    return hashlib.sha256(json.dumps([url, body], sort_keys=True).encode()).hexdigest()
