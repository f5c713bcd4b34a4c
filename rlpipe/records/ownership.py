"""Whose a run directory is: one process at a time, one run for ever, and never a folder of something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rlpipe.config.relevance import flat, rounding
from rlpipe.core.errors import RecordError
from rlpipe.core.files import Row, explained, remove
from rlpipe.records import manifest
from rlpipe.records.lease import Lease, acquire

FROZEN = ("config.yaml", "result.json")
"""What a launcher leaves in the folder of a run that has not begun: its config, and why it was cancelled."""


def claim(folder: Path, lease: Lease | None = None) -> Lease:
    """Make the folder if need be and take it for this process, or raise Taken naming the process that has it.

    `lease` is the right to write there, where this process has it already. Nothing needs repair after a kill.
    """
    with explained(folder, "make"):
        folder.mkdir(parents=True, exist_ok=True)
    if not manifest.is_run(folder):
        refuse_foreign(folder)
    lease = lease or acquire(folder)
    try:
        for left_over in folder.glob(".*.tmp"):
            remove(left_over)
    except BaseException:
        lease.release()
        raise
    return lease


def refuse_foreign(folder: Path) -> None:
    """Raise RecordError when a folder without a manifest holds something that a run would mix with."""
    found = sorted(
        entry.name for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name not in FROZEN
    )
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise RecordError(
            folder,
            f"not empty ({', '.join(found[:3])}{more}) and no run's folder (it has no manifest.json)",
            "name a new or empty folder with run_dir=…",
        )


def refuse_other_run(folder: Path, old: Row, new: Row, same_run: Callable[[Row, Row], list[str]]) -> None:
    """Raise RecordError when the folder's run (config `old`) differs from the one asked for, naming the keys.

    What changes results by rounding alone may differ.
    """
    keys = [key for key in same_run(old, new) if not rounding(key, new)]
    if not keys:
        return
    before, after = flat(old), flat(new)
    there = {key: f"{before.get(key, '(absent)')} there, {after.get(key, '(absent)')} here" for key in keys}
    listed = "\n".join(f"    {key}: {values}" for key, values in there.items())
    raise RecordError(
        folder,
        f"holds another run, which differs in\n{listed}",
        "name another run_dir, or give the command of the run that is there",
    )
