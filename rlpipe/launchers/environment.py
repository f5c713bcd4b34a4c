"""What of the submitting shell's environment jobs get that run elsewhere.

What a run needs of it (where the store is, keys of trackers) stands in a file of the sweep's folder that only the user
can read: what is handed to a place itself, others there can see.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rlpipe.core.files import json_text, read_json
from rlpipe.records.sweep import JOB_ID, Sweep


def keep(sweep: Sweep, place: str, patterns: Sequence[str]) -> None:
    """Write down, for the user alone, the variables of this process whose names fit a pattern."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != JOB_ID and any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    path = _file(sweep, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(json_text(kept))
    os.replace(new, path)


def kept(sweep: Sweep, place: str) -> dict[str, str]:
    """Return the variables that were written down when the sweep's jobs were last submitted by hand."""
    return read_json(_file(sweep, place), "delete it, and submit again: rlpipe sweep DIR resume") or {}


def _file(sweep: Sweep, place: str) -> Path:
    return sweep.folder / ".launch" / place / "environment.json"
