"""`rlpipe report DIR…`: compare runs and sweeps, on the terminal and as files."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from rlpipe.cli.exits import DONE, leave
from rlpipe.core.terminal import say
from rlpipe.records.runs import find
from rlpipe.report import tables
from rlpipe.report.compare import compare
from rlpipe.report.write import _check, _place, _write


def main() -> NoReturn:
    """Run the command line in `sys.argv` and exit: 0 done, 2 something to mend."""
    leave(partial(_command, _parser().parse_args()))


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "rlpipe report",
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
