"""A run's folder that another process takes over, as it does from one that was suspended for long."""

from __future__ import annotations

from pathlib import Path

from rlpipe.records import heartbeat, lease
from rlpipe.records.heartbeat import Owner


def take_over(folder: Path) -> None:
    """Give the right to change a folder to a process of another machine."""
    newest, _ = lease._newest(folder)
    file = folder / lease.FOLDER / str(newest + 1)
    heartbeat.write(file, Owner(host="node7", pid=1, machine="another one"))
    heartbeat.stop(file)
    (folder / lease.FOLDER / str(newest)).unlink()
