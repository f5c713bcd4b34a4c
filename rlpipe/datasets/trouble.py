"""The error of unreadable data: a DataError that `check` can also list as a Problem."""

from __future__ import annotations

from rlpipe.core.errors import DataError, Problem


class BadData(DataError):
    """Data that cannot be read or used: where (file and row, or setting), what, and what to do."""

    def __init__(self, where: str, what: str, fix: str):
        self.problem = Problem(where, what, fix)
        super().__init__(str(self.problem))
