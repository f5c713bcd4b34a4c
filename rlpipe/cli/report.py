"""`python -m rlpipe.report DIR…`: compare runs and sweeps, on the terminal and as files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from rlpipe.cli.exits import DONE, leave
from rlpipe.core.errors import RlpipeError
from rlpipe.core.files import json_text, write_atomic
from rlpipe.core.terminal import say
from rlpipe.records.runs import Run, find
from rlpipe.report import tables
from rlpipe.report.compare import compare
from rlpipe.report.comparison import Comparison

NAME = "report.html"


def main() -> NoReturn:
    """Run the command line in `sys.argv` and exit: 0 done, 2 something to mend."""
    leave(partial(_command, _parser().parse_args()))


def build(paths: Sequence[Path | str], target: Path | None = None) -> Path:
    """Write the page that compares the runs of folders, and return its place.

    That is `target`, else `report.html` in the folder, or here for several. Raises RlpipeError for folders without
    runs, and for a page that cannot be written.
    """
    runs = find(paths)
    place = target or _place(paths)
    _write(place, runs, compare(runs))
    return place


def _command(arguments: argparse.Namespace) -> int:
    targets = [Path(name).expanduser() for name in arguments.output] or [_place(arguments.folders)]
    _check(targets)
    runs = find(arguments.folders)
    found = compare(runs, arguments.evaluation, arguments.metric, arguments.baseline)
    Console(highlight=False, markup=False).print(tables.terminal(found))
    for target in targets:
        _write(target, runs, found)
        say(f"written: {target}")
    return DONE


def _place(paths: Sequence[Path | str]) -> Path:
    return (Path(paths[0]).expanduser() if len(paths) == 1 else Path()) / NAME


def _check(targets: Sequence[Path]) -> None:
    unknown = [str(target) for target in targets if target.suffix not in _WRITERS]
    if unknown:
        endings = ", ".join(_WRITERS)
        raise RlpipeError(f"--output: {', '.join(unknown)}: no known ending\n    → name a file that ends in {endings}")


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m rlpipe.report",
        description="Compare runs and sweeps: arms over seeds with 95 % intervals, and differences from a baseline.",
        epilog="Without --output the page goes to DIR/report.html, for several folders to ./report.html.",
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="a run's directory, a sweep's, or a folder above them"
    )
    parser.add_argument("--evaluation", metavar="NAME", help="compare this evaluation alone")
    parser.add_argument(
        "--baseline",
        metavar="LABEL",
        help="the arm to compare with; 'before' is each arm's own start (default: the first arm)",
    )
    parser.add_argument(
        "--metric",
        metavar="KEY",
        help="a field of the rows (score, pass.8), or a number of the results over seeds (after/preference/margin)",
    )
    parser.add_argument(
        "--output", metavar="FILE", action="append", default=[], help="write FILE.html, .csv, .md or .json; repeatable"
    )
    return parser


if __name__ == "__main__":
    main()
