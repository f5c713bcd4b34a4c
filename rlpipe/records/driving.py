"""Who drives a sweep that searches, one process at a time, and whether it was ended by hand.

.launch/search/.lease    the driver's right to draw arms
.launch/search/ended     there where nothing more is to be drawn until the search goes on
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rlpipe.core.errors import LaunchError
from rlpipe.core.files import remove, write_atomic
from rlpipe.records import lease
from rlpipe.records.sweep import Sweep

SEARCH = "hydra_plugins.rlpipe_launch.TpeSweeper"
"""What a sweep's folder says of the sweeper that searches."""


def is_search(sweep: Sweep) -> bool:
    """Whether a sweep's arms are drawn by a search."""
    return sweep.data.get("sweeper") == SEARCH


def is_driven(sweep: Sweep) -> bool:
    """Whether a process draws arms for a sweep at this moment."""
    return lease.holder(_folder(sweep)) is not None


@contextmanager
def driving(sweep: Sweep) -> Iterator[Callable[[], None]]:
    """Be the only process that drives a search; what is yielded raises RecordError once another one does.

    Raises LaunchError while another one does.
    """
    _folder(sweep).mkdir(parents=True, exist_ok=True)
    try:
        right = lease.acquire(_folder(sweep), "driving the search", patient=False)
    except lease.Taken as taken:
        fix = "let it; or end it first: cancel. Single arms can be run again by their numbers: resume JOB …"
        raise LaunchError(sweep.folder, f"{taken.owner} is driving the search", fix) from taken
    try:
        yield right.check
    finally:
        right.release()


def end(sweep: Sweep) -> None:
    """Let whoever drives the search draw nothing more."""
    write_atomic(_ended(sweep), "")


def is_ended(sweep: Sweep) -> bool:
    """Whether the search was ended by hand."""
    return _ended(sweep).exists()


def go_on(sweep: Sweep) -> None:
    """Let the search draw arms again."""
    remove(_ended(sweep))


def _folder(sweep: Sweep) -> Path:
    return sweep.folder / ".launch" / "search"


def _ended(sweep: Sweep) -> Path:
    return _folder(sweep) / "ended"
