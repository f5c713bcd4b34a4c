"""`rlpipe sweep DIR COMMAND`: what can be done with a sweep, from any shell, at any later time."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from rlpipe.cli.exits import DONE, UNWELL, leave
from rlpipe.core.errors import LaunchError, guess
from rlpipe.core.terminal import say, show
from rlpipe.launchers.base import Backend, backend_of
from rlpipe.records.sweep import Job, Sweep
from rlpipe.sweep.states import RESUMABLE, Standing
from rlpipe.sweep.table import summary, table
from rlpipe.sweep.watch import come_back, look, report, watch


def main() -> NoReturn:
    """Run the command line in `sys.argv` and exit: 0 done, 1 some arm is not well, 2 something to mend."""
    leave(partial(_command, _parser().parse_args()))


def _command(arguments: argparse.Namespace) -> int:
    sweep = Sweep.load(arguments.folder)
    backend = backend_of(sweep)
    match arguments.command:
        case "watch":
            return follow(sweep, backend)
        case "resume":
            return resume(sweep, backend, arguments.jobs, arguments.wait)
        case "cancel":
            return cancel(sweep, backend, arguments.jobs)
        case "add":
            return add(sweep, backend, arguments.overrides, arguments.wait)
        case "logs":
            return logs(sweep, backend, arguments.jobs, arguments.lines, arguments.follow)
        case _:
            return status(sweep, backend)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("rlpipe sweep", description="List, watch, resume, extend, end a sweep.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the sweep's folder under multirun/")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("status", help="show how every job stands (the default)")
    commands.add_parser("watch", help="show it live until the sweep is over; exit code 1 if an arm is not done")
    resumed = commands.add_parser("resume", help="run again only what is missing, stopped, cancelled or failed")
    cancelled = commands.add_parser("cancel", help="end all jobs, or the named ones")
    added = commands.add_parser("add", help="extend the sweep: add seed=3,4")
    added.add_argument("overrides", nargs="+", metavar="FIELD=VALUES")
    told = commands.add_parser("logs", help="print the end of jobs' logs")
    told.add_argument("-n", "--lines", type=int, default=40, help="how many lines of each (default 40)")
    told.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    for command in (resumed, cancelled, told):
        command.add_argument("jobs", nargs="*", metavar="JOB", help="arms by number, stages by name; none: all")
    for command in (resumed, added):
        command.add_argument("--wait", action="store_true", help="watch until it is over")
    return parser


def status(sweep: Sweep, backend: Backend) -> int:
    """Show how every job stands, once."""
    show(table(look(sweep, backend)))
    return DONE


def follow(sweep: Sweep, backend: Backend) -> int:
    """Show how the sweep gets on until it is over."""
    return DONE if report(sweep, watch(sweep, backend)) else UNWELL


def resume(sweep: Sweep, backend: Backend, keys: Sequence[str], wait: bool) -> int:
    """Run again what is missing, stopped, cancelled or failed, all of it or the named jobs; what runs is left alone."""
    now = look(sweep, backend)
    chosen = _chosen(now, keys)
    again = {one.job.key for one in chosen if one.state in RESUMABLE}
    # A stage that a chosen arm needs comes with it.
    needed = {key for one in chosen if one.job.key in again for key in one.job.needs}
    again |= {one.job.key for one in now if one.job.key in needed and one.state in RESUMABLE}
    jobs = [job for job in sweep.jobs if job.key in again]
    if not jobs:
        say(f"nothing to run again: {summary(chosen)}")
        return DONE
    backend.submit(jobs)
    say(f"submitted again: {', '.join(job.key for job in jobs)}")
    return _wait(sweep, backend, wait)


def cancel(sweep: Sweep, backend: Backend, keys: Sequence[str]) -> int:
    """End the sweep, or the named jobs of it; what is done stays."""
    alive = [one.job for one in _chosen(look(sweep, backend), keys) if not one.state.over]
    if not alive:
        say("nothing to cancel: no job is queued or running")
        return DONE
    backend.cancel(alive)
    say(f"cancelled: {', '.join(job.key for job in alive)}")
    return DONE


def add(sweep: Sweep, backend: Backend, overrides: Sequence[str], wait: bool) -> int:
    """Extend the sweep by the arms that further values of a field make."""
    from rlpipe.cli.main import command
    from rlpipe.sweep.extend import extend

    fresh = extend(sweep, overrides, command)
    if not fresh:
        say("nothing to add: the sweep has all these arms already")
        return DONE
    return _wait(sweep, backend, wait)


def _wait(sweep: Sweep, backend: Backend, wait: bool) -> int:
    if wait:
        return follow(sweep, backend)
    say(come_back(sweep))
    return DONE


def logs(sweep: Sweep, backend: Backend, keys: Sequence[str], lines: int, go_on: bool) -> int:
    """Print the end of jobs' logs, and go on with one job's as it grows."""
    jobs = [one.job for one in _chosen(look(sweep, backend), keys)]
    if go_on and len(jobs) != 1:
        raise LaunchError("logs --follow", "follows one job", "name it: logs JOB --follow")
    for job in jobs:
        if len(jobs) > 1:
            print(f"==> {job.key} <==")
        sys.stdout.writelines(_tail(_log(sweep, job), lines))
    if go_on:
        _follow(_log(sweep, jobs[0]), lambda: look(sweep, backend), jobs[0].key)
    return DONE


def _log(sweep: Sweep, job: Job) -> Path:
    return sweep.job_folder(job) / "log.txt"


def _tail(path: Path, lines: int) -> Iterable[str]:
    if not path.exists():
        return ["(nothing yet)\n"]
    with open(path, encoding="utf-8", errors="replace") as file:
        return deque(file, maxlen=lines)


def _follow(path: Path, stand: Callable[[], list[Standing]], key: str) -> None:
    """Print what is added to a file until its job is over."""
    position = path.stat().st_size if path.exists() else 0
    while True:
        over = next(one.state.over for one in stand() if one.job.key == key)
        if path.exists():
            with open(path, encoding="utf-8", errors="replace") as file:
                file.seek(position)
                sys.stdout.write(file.read())
                sys.stdout.flush()
                position = file.tell()
        if over:
            return
        time.sleep(1)


def _chosen(now: Sequence[Standing], keys: Sequence[str]) -> list[Standing]:
    """Return the named jobs, all of them when none is named. Raises LaunchError for names that no job has."""
    known = [one.job.key for one in now]
    unknown = [key for key in keys if key not in known]
    if unknown:
        named = "\n".join(f"'{key}' is no job of this sweep" for key in unknown)
        raise LaunchError("", named, guess(unknown[0], known))
    return [one for one in now if not keys or one.job.key in keys]
