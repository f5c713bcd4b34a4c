"""What the processes of one run said last, and which of them failed first.

Where one of several processes is gone, the others lose their connection to it and fail too, the main one among them,
whose words stand for the job. So each process writes down how it ended, and what stands beside it on its node says
which ended without a word.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterable
from pathlib import Path

from rlpipe.core.files import remove
from rlpipe.records.sweep import Ended, Outcome, outcome_file, read_outcome, write_outcome

PATIENCE = 20.0
"""Seconds for which the words of other nodes' processes are waited for."""
_CONSEQUENCE = re.compile(r"connection (reset|closed|refused)|broken pipe|socket (closed|timeout)|gloo|nccl", re.I)
"""What an error says that another process's end has led to."""


def forget(folder: Path, ranks: Iterable[int]) -> None:
    """Forget what an earlier attempt's processes said; the main one's words are the job's, and stay."""
    for rank in ranks:
        if rank > 0:
            remove(outcome_file(folder, rank))


def note_killed(folder: Path, ranks: Iterable[int], hint: str) -> None:
    """Write down which processes, all of which are gone by now, ended without a word; `hint` follows what is said."""
    for rank in ranks:
        outcome = read_outcome(folder, rank)
        if outcome is not None and outcome.ended is Ended.running:
            error = f"ended without a word, by a signal or for want of memory{hint}"
            gone = dataclasses.replace(outcome, ended=Ended.failed, error=error, time=time.time())
            write_outcome(folder, gone, rank)


def first_failure(folder: Path, count: int, patience: float = PATIENCE) -> tuple[int, Outcome] | None:
    """Return which of `count` processes failed first, and how; None where none says that it failed.

    An error of a process's own comes before an end without a word, and that before a lost connection.
    """
    until = time.monotonic() + patience
    while True:
        said = {rank: outcome for rank in range(count) if (outcome := read_outcome(folder, rank)) is not None}
        ended = [rank for rank, outcome in said.items() if outcome.ended is not Ended.running]
        if len(ended) == count or time.monotonic() > until:
            break
        time.sleep(0.1)
    failed = [(rank, outcome) for rank, outcome in said.items() if outcome.ended is Ended.failed]
    return min(failed, key=lambda one: _order(one[1]), default=None)


def _order(outcome: Outcome) -> tuple[int, float]:
    if _CONSEQUENCE.search(outcome.error or ""):
        return 2, outcome.time
    return 0 if outcome.traceback is not None else 1, outcome.time
