"""Who uses a stage now: marks in its folder, which pruning respects.

`.users/<token>` is a run's sign of life, `.users/<name>.sweep` the path of a sweep with jobs that will need the stage.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlpipe.core.errors import RecordError, RlpipeError
from rlpipe.core.files import explained, write_atomic
from rlpipe.core.terminal import say
from rlpipe.records import heartbeat
from rlpipe.records.heartbeat import Owner

FOLDER = ".users"
_SWEEP = ".sweep"


class Mark:
    """This process's mark on a stage."""

    def __init__(self, stage: Path, run: str):
        self.stage, self.owner = stage, Owner(doing=f"using it for {run}")
        self._warned = False

    @property
    def file(self) -> Path:
        """Where the mark lies."""
        return self.stage / FOLDER / self.owner.token

    def renew(self) -> None:
        """Make the mark, again if the folder was taken away since. Raises RecordError.

        A store that is there for reading only is used without a mark, which is said.
        """
        with explained(self.file, "mark"):
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                if not self.file.exists():
                    heartbeat.write(self.file, self.owner)
            except OSError:
                if not _for_reading_only(self.stage):
                    raise
                if not self._warned:
                    _say_unmarked(self.stage)
                self._warned = True

    def remove(self) -> None:
        """Take the mark away."""
        heartbeat.stop(self.file)
        with suppress(OSError):  # the folder may be gone or read-only by now; a mark without a process is none
            self.file.unlink(missing_ok=True)


@contextmanager
def using(stage: Path, run: str) -> Iterator[Mark]:
    """Mark a stage's folder as used by a run for the body."""
    mark = Mark(stage, run)
    mark.renew()
    try:
        yield mark
    finally:
        mark.remove()


def reserve(stage: Path, sweep: Path) -> None:
    """Note that arms of a sweep, which may run at any later time, need a stage; it counts until they have ended.

    Raises RecordError.
    """
    name = hashlib.sha256(str(sweep.resolve()).encode()).hexdigest()[:12] + _SWEEP
    try:
        write_atomic(stage / FOLDER / name, str(sweep.resolve()))
    except RecordError:
        if not _for_reading_only(stage):
            raise
        _say_unmarked(stage)


def users(stage: Path) -> list[str]:
    """Return who uses or will use a stage, in words; marks that nobody alive stands behind are cleared away."""
    found = []
    with suppress(FileNotFoundError):
        for file in sorted((stage / FOLDER).iterdir()):
            if file.name.startswith("."):
                continue
            user = _sweep(file) if file.suffix == _SWEEP else _process(file)
            if user:
                found.append(user)
            else:
                with suppress(OSError):  # clearing away is a courtesy
                    file.unlink()
    return found


def _process(file: Path) -> str | None:
    sign = heartbeat.read(file)
    return f"{sign.owner}, {sign.owner.doing}" if sign is not None and sign.alive else None


def _sweep(file: Path) -> str | None:
    """Name a sweep that still has arms to run."""
    from rlpipe.records.sweep import DONE_WELL, Ended, Sweep, read_outcome

    folder = Path(file.read_text(encoding="utf-8"))
    try:
        sweep = Sweep.load(folder)
    except RlpipeError:
        return None  # deleted
    outcomes = [read_outcome(sweep.job_folder(arm)) for arm in sweep.arms]
    over = (*DONE_WELL, Ended.failed, Ended.cancelled)
    waiting = [outcome for outcome in outcomes if outcome is None or outcome.ended not in over]
    return f"the sweep {folder}" if waiting else None


def _for_reading_only(stage: Path) -> bool:
    return stage.is_dir() and not os.access(stage, os.W_OK)


def _say_unmarked(stage: Path) -> None:
    say(f"{stage}: cannot be written, so whoever prunes the store does not see that it is in use")
