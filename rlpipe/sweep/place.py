"""The folder of a sweep that is about to begin: may it be used, and by nobody else?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rlpipe.core.errors import LaunchError, RecordError
from rlpipe.core.files import explained
from rlpipe.launchers.base import launcher_of
from rlpipe.records import manifest
from rlpipe.records.lease import acquire
from rlpipe.records.ownership import refuse_foreign
from rlpipe.records.sweep import SWEEP_FILE, Sweep
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.watch import look


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other launchers out of a sweep's folder for the body. Raises RecordError while another is at it."""
    with explained(folder, "make", "hydra.sweep.dir"):
        (folder / ".launch").mkdir(parents=True, exist_ok=True)
    lease = acquire(folder / ".launch", "launching a sweep here", patient=False)
    try:
        yield
    finally:
        lease.release()


def refuse_taken(folder: Path) -> None:
    """Raise LaunchError before any work for a folder that cannot be written or holds a sweep already."""
    if Sweep(folder, {}).exists:
        raise LaunchError(
            "hydra.sweep.dir",
            f"{folder} holds a sweep already",
            f"go on with it: rlpipe sweep {folder} resume; or name another hydra.sweep.dir",
        )
    standing = folder
    while not standing.exists():
        standing = standing.parent
    if not standing.is_dir():
        raise LaunchError("hydra.sweep.dir", f"{standing} is a file", "name a folder")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise LaunchError("hydra.sweep.dir", f"{standing} cannot be written", "name a folder that can be")


def refuse_used(arms: Sequence[Arm]) -> None:
    """Raise LaunchError when arms' folders hold something already, naming all of them."""
    used = []
    for arm in arms:
        if not arm.run_dir.is_dir():
            continue
        try:
            if manifest.is_run(arm.run_dir):
                used.append(f"{arm.run_dir}: holds a run already")
            elif arm.run is not None:
                refuse_foreign(arm.run_dir)
        except RecordError as error:
            used.append(error.headline.splitlines()[0])
    if used:
        raise LaunchError("", "\n".join(used), "name another hydra.sweep.dir")


def set_aside(folder: Path) -> None:
    """Put what is left of another application's sweep aside when it is over, so that the folder can be used again.

    Such applications have no records that a second sweep could be mixed up with, and Hydra lets them name the same
    folder again and again. Nothing is deleted.
    """
    if not Sweep(folder, {}).exists:
        return
    sweep = Sweep.load(folder)
    if sweep.arms and all(one.state.over for one in look(sweep, launcher_of(sweep))):
        (folder / SWEEP_FILE).rename(folder / ".launch" / SWEEP_FILE)
        (folder / ".launch").rename(folder / f".launch-{sweep.data['id']}")
