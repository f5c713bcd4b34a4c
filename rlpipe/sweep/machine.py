"""How fast this machine multiplies, measured once a shape and kept in the store: what a model's time is counted by."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

from rlpipe.core.errors import RecordError
from rlpipe.core.files import write_atomic

NAME = "machine.json"
"""The file of a store that holds what was measured, by machine and shape."""
AT_LEAST = 0.03
"""Seconds of processor time that one measurement takes, so that the clock is fine enough."""


def operations(store: Path, rows: int, width: int, inner: int) -> float:
    """Return the floating-point operations a second of one core, for matrices of rows × width times width × inner."""
    file, key = store / NAME, f"{platform.node()} {rows}x{width}x{inner}"
    known = _known(file)
    if key not in known:
        known[key] = _measured(rows, width, inner)
        if store.is_dir():
            _keep(file, known)
    return known[key]


def _known(file: Path) -> dict[str, float]:
    """Return what is kept; a damaged file is worth no more than none, for all of it can be measured again."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, int | float) and value > 0}


def _keep(file: Path, known: dict[str, float]) -> None:
    try:
        write_atomic(file, json.dumps(known, indent=1))
    except RecordError:
        return  # a store for reading only


def _measured(rows: int, width: int, inner: int) -> float:
    import numpy as np

    one, other = np.ones((rows, width), np.float32), np.ones((width, inner), np.float32)
    best = 0.0
    for _ in range(3):
        began, count = time.process_time(), 0
        # The processor's time, not the wall's: others may share it, and numpy may use several cores.
        while (spent := time.process_time() - began) < AT_LEAST:
            one @ other
            count += 1
        best = max(best, 2.0 * rows * width * inner * count / spent)
    return best
