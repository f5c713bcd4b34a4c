"""`python -m rlpipe.sweep DIR COMMAND`: what can be done with a sweep, from any shell, at any later time."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import NoReturn

from rlpipe.cli.exits import leave
from rlpipe.sweep import commands


def main() -> NoReturn:
    """Run the command line in `sys.argv` and exit: 0 done, 1 some arm is not well, 2 something to mend."""
    leave(partial(_command, _parser().parse_args()))


def _command(arguments: argparse.Namespace) -> int:
    from rlpipe.launchers.base import backend_of
    from rlpipe.records.sweep import Sweep

    sweep = Sweep.load(arguments.folder)
    backend = backend_of(sweep)
    match arguments.command:
        case "watch":
            return commands.follow(sweep, backend)
        case "resume":
            return commands.resume(sweep, backend, arguments.jobs, arguments.wait)
        case "cancel":
            return commands.cancel(sweep, backend, arguments.jobs)
        case "add":
            return commands.add(sweep, backend, arguments.overrides, arguments.wait)
        case "logs":
            return commands.logs(sweep, backend, arguments.jobs, arguments.lines, arguments.follow)
        case _:
            return commands.status(sweep, backend)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m rlpipe.sweep", description="List, watch, resume, extend, end a sweep.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the sweep's folder under multirun/")
    commands_ = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands_.add_parser("status", help="show how every job stands (the default)")
    commands_.add_parser("watch", help="show it live until the sweep is over; exit code 1 if an arm is not done")
    resumed = commands_.add_parser("resume", help="run again only what is missing, stopped, cancelled or failed")
    cancelled = commands_.add_parser("cancel", help="end all jobs, or the named ones")
    added = commands_.add_parser("add", help="extend the sweep: add seed=3,4")
    added.add_argument("overrides", nargs="+", metavar="FIELD=VALUES")
    told = commands_.add_parser("logs", help="print the end of jobs' logs")
    told.add_argument("-n", "--lines", type=int, default=40, help="how many lines of each (default 40)")
    told.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    for command in (resumed, cancelled, told):
        command.add_argument("jobs", nargs="*", metavar="JOB", help="arms by number, stages by name; none: all")
    for command in (resumed, added):
        command.add_argument("--wait", action="store_true", help="watch until it is over")
    return parser


if __name__ == "__main__":
    main()
