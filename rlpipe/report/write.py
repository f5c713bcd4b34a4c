"""Writing a comparison: as a page, a table or data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlpipe.core.errors import RlpipeError
from rlpipe.core.files import json_text, write_atomic
from rlpipe.records.runs import Run, find
from rlpipe.report import tables
from rlpipe.report.compare import compare
from rlpipe.report.comparison import Comparison

NAME = "report.html"


def build(paths: Sequence[Path | str], target: Path | None = None) -> Path:
    """Write the page that compares the runs of folders, and return its place.

    That is `target`, else `report.html` in the folder, or here for several. Raises RlpipeError for folders without
    runs, and for a page that cannot be written.
    """
    runs = find(paths)
    place = target or _place(paths)
    _write(place, runs, compare(runs))
    return place


def _place(paths: Sequence[Path | str]) -> Path:
    return (Path(paths[0]).expanduser() if len(paths) == 1 else Path()) / NAME


def _check(targets: Sequence[Path]) -> None:
    unknown = [str(target) for target in targets if target.suffix not in _WRITERS]
    if unknown:
        endings = ", ".join(_WRITERS)
        raise RlpipeError("--output", f"{', '.join(unknown)}: no known ending", f"name a file that ends in {endings}")


def _write(target: Path, runs: list[Run], found: Comparison) -> None:
    _WRITERS[target.suffix](target, runs, found)


def _page(target: Path, runs: list[Run], found: Comparison) -> None:
    from rlpipe.report.page import write

    write(runs, found, target)


_WRITERS = {
    ".html": _page,
    ".csv": lambda target, _, found: write_atomic(target, tables.to_csv(found)),
    ".md": lambda target, _, found: write_atomic(target, tables.markdown(found)),
    ".json": lambda target, _, found: write_atomic(target, json_text(found.to_plain())),
}
