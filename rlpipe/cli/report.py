"""`rlpipe report DIR…`: compare runs and sweeps, on the terminal and as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from rlpipe.cli.commands import page
from rlpipe.cli.exits import DONE
from rlpipe.core.terminal import console, say
from rlpipe.records.runs import find
from rlpipe.report import tables
from rlpipe.report.compare import compare
from rlpipe.report.write import _check, _place, _write

ABOUT = (
    "Compare runs and sweeps: arms over seeds with 95 % intervals, and paired differences from a baseline, on the "
    "terminal and as a page without any service. Without --output the page goes to DIR/report.html, for several "
    "folders to ./report.html."
)
EXAMPLES = [
    ("rlpipe report multirun/DATE/TIME", "the tables, and report.html in that folder"),
    ("rlpipe report runs/a runs/b", "any runs beside each other"),
    ("rlpipe report DIR --baseline beta=0.1", "differences from that arm"),
    ("rlpipe report DIR --baseline before", "differences from each arm's own start"),
    ("rlpipe report DIR --metric pass.8", "another number of the rows"),
    ("rlpipe report DIR --output table.csv", "the numbers for elsewhere; also .md, .json"),
]


def run(arguments: argparse.Namespace) -> int:
    """Compare runs, print the tables, and write the files."""
    targets = [Path(name).expanduser() for name in arguments.output] or [_place(arguments.folders)]
    _check(targets)
    runs = find(arguments.folders)
    found = compare(runs, arguments.evaluation, arguments.metric, arguments.baseline)
    console(stderr=False).print(tables.terminal(found))
    for target in targets:
        _write(target, runs, found)
        say(f"written: {target}")
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of `rlpipe report`."""
    parser = argparse.ArgumentParser("rlpipe report", **page(ABOUT, EXAMPLES))
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
        "--output",
        metavar="FILE",
        action="append",
        default=[],
        help="write FILE.html, .csv, .md or .json; repeatable",
    )
    return parser
