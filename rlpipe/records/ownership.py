"""Whose a run directory is: one process at a time, one run for ever, and never a folder of something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rlpipe.config import plugins
from rlpipe.core.errors import RecordError
from rlpipe.core.files import Row, explained
from rlpipe.records.lease import Lease, acquire

NOT_RESULT = ("run_dir", "until", "store", "objective", "log", "tracker", "checkpoint")
"""The parts of a config that may differ between two attempts of the same run."""

FROZEN = ("config.yaml", "result.json")
"""What a launcher leaves in the folder of a run that has not begun: its config, and why it was cancelled."""


def claim(folder: Path, lease: Lease | None = None) -> Lease:
    """Make the folder if need be and take it for this process, or raise Taken naming the process that has it.

    `lease` is the right to write there, where this process has it already. Nothing needs mending after a kill.
    """
    with explained(folder, "make"):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "manifest.json").exists():
        refuse_foreign(folder)
    lease = lease or acquire(folder)
    try:
        for left_over in folder.glob(".*.tmp"):
            left_over.unlink(missing_ok=True)
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
            f"{folder}: not empty ({', '.join(found[:3])}{more}) and no run's folder (it has no manifest.json)\n"
            "    → name a new or empty folder with run_dir=…"
        )


def differing(old: Row, new: Row) -> list[str]:
    """Return the dotted keys in which two resolved configs differ, but for those that no result depends on."""
    before, after = flat(old), flat(new)
    absent = object()
    changed = [key for key in sorted(before | after) if before.get(key, absent) != after.get(key, absent)]
    return [key for key in changed if key.split(".")[0] not in NOT_RESULT and not _changes_no_score(key, new)]


def _changes_no_score(key: str, config: Row) -> bool:
    """Whether a key is one of a reward's that change no score, such as a judge's budget."""
    kind, name, *rest = [*key.split("."), "", ""]
    if kind != "reward":
        return False
    plugin = plugins.table()["reward"].get(config["reward"].get(name, {}).get("name"))
    return plugin is not None and plugin.cls is not None and rest[0] in plugin.cls.irrelevant


def refuse_other_run(folder: Path, old: Row, new: Row, same_run: Callable[[Row, Row], list[str]]) -> None:
    """Raise RecordError when the folder's run (config `old`) differs from the one asked for, naming the keys."""
    keys = same_run(old, new)
    if not keys:
        return
    before, after = flat(old), flat(new)
    there = {key: f"{before.get(key, '(absent)')} there, {after.get(key, '(absent)')} here" for key in keys}
    listed = "\n".join(f"    {key}: {values}" for key, values in there.items())
    raise RecordError(
        f"{folder}: holds another run, which differs in\n{listed}\n"
        "    → name another run_dir, or give the command of the run that is there"
    )


def flat(config: Row, prefix: str = "") -> Row:
    """Return a nested mapping as dotted keys; lists stay whole."""
    dotted: Row = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            dotted |= flat(dict(value), f"{prefix}{key}.")
        else:
            dotted[f"{prefix}{key}"] = value
    return dotted
