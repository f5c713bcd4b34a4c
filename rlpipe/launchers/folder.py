"""Whether a sweep's folder is one that jobs on other nodes can use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rlpipe.core.errors import Problem

_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")
_LOCAL_KINDS = ("tmpfs", "ramfs", "overlay")


def folder_problems(folder: Path) -> Iterator[Problem]:
    """Yield what speaks against a sweep's folder: nobody may write there, or other nodes would hardly see it."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(place, os.W_OK):
        yield Problem("hydra.sweep.dir", f"{place} cannot be written", "name a folder of yours: hydra.sweep.dir=…")
    elif _is_local(place):
        what = f"{folder} looks like a disk of this machine alone, and jobs on other nodes would not see it"
        yield Problem("hydra.sweep.dir", what, "name a folder that all nodes share", fatal=False)


def _is_local(place: Path) -> bool:
    if any(place.is_relative_to(local) for local in _LOCAL):
        return True
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    around = [(len(point), kind) for point, kind in mounts if place.is_relative_to(point)]
    return bool(around) and max(around)[1] in _LOCAL_KINDS
