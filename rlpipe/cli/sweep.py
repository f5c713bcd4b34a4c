"""`rlpipe sweep DIR COMMAND`: what can be done with a sweep, from any shell, at any later time."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlpipe.cli.commands import page
from rlpipe.cli.exits import DONE, UNWELL
from rlpipe.core.errors import LaunchError, advice, guess
from rlpipe.core.terminal import say, show
from rlpipe.core.visible import visible
from rlpipe.launchers.base import Launcher, launcher_of
from rlpipe.records.driving import end, is_search
from rlpipe.records.sweep import Job, Sweep
from rlpipe.sweep.states import Standing, State, resumable
from rlpipe.sweep.table import summary, table
from rlpipe.sweep.watch import come_back, look, report, watch

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

ABOUT = (
    "Look at a sweep or change it, from any shell, at any later time: on this machine or on a cluster. Its jobs are "
    "its arms, called by their numbers, and the stages that they need, called by their names."
)
EXAMPLES = [
    ("rlpipe sweep multirun/DATE/TIME", "how every arm stands"),
    ("rlpipe sweep multirun/DATE/TIME resume", "only what is missing or failed"),
    ("rlpipe sweep multirun/DATE/TIME resume --help", "more of one command"),
]
WATCHED = "0 done, 1 an arm is not done when watching ends, 2 something to fix, 130 interrupted while watching"


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked with a sweep."""
    sweep = Sweep.load(arguments.folder)
    launcher = launcher_of(sweep)
    match arguments.command:
        case "watch":
            return follow(sweep, launcher)
        case "resume":
            if is_search(sweep) and not arguments.jobs:
                return search_on(sweep, arguments.trials, arguments.pruned)
            if arguments.trials is not None:
                raise LaunchError("--trials", "is for a search as a whole (hydra/sweeper=tpe)", "leave it out")
            return resume(sweep, launcher, arguments.jobs, arguments.wait, arguments.pruned)
        case "cancel":
            return cancel(sweep, launcher, arguments.jobs)
        case "add":
            return add(sweep, launcher, arguments.overrides, arguments.wait)
        case "confirm":
            return confirm(sweep, launcher, arguments.seeds, arguments.wait)
        case "logs":
            return logs(sweep, launcher, arguments.jobs, arguments.lines, arguments.follow)
        case _:
            return status(sweep, launcher)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `rlpipe sweep`."""
    parser = argparse.ArgumentParser("rlpipe sweep", **page(ABOUT, EXAMPLES, WATCHED))
    parser.add_argument("folder", type=Path, metavar="DIR", help="the sweep's folder under multirun/")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_status(commands)
    _add_watch(commands)
    resume = _add_resume(commands)
    cancel = _add_cancel(commands)
    extend = _add_add(commands)
    confirm = _add_confirm(commands)
    logs = _add_logs(commands)
    for command in (resume, cancel, logs):
        command.add_argument("jobs", nargs="*", metavar="JOB", help="arms by number, stages by name; none: all")
    for command in (resume, extend, confirm):
        command.add_argument("--wait", action="store_true", help="watch until it is over")
    return parser


def _add_status(commands: Subparsers) -> None:
    about = "Show once how every stage and arm stands: queued and why, running and how far, done, or its error."
    examples = [("rlpipe sweep DIR", "the same as rlpipe sweep DIR status")]
    commands.add_parser("status", help="show how every job stands (the default)", **page(about, examples))


def _add_watch(commands: Subparsers) -> None:
    about = "Show how the sweep gets on until it is over. Ctrl-C leaves the jobs alone."
    examples = [("rlpipe sweep DIR watch", "a live table; in a log, a line for each change")]
    commands.add_parser("watch", help="show it live until it is over", **page(about, examples, WATCHED))


def _add_resume(commands: Subparsers) -> argparse.ArgumentParser:
    about = (
        "Run again what is missing, stopped, cancelled or failed, with the stages that it needs. Each goes on in its "
        "folder from its last whole checkpoint. What is done stays, what runs is left alone. Arms that a rung has "
        "pruned stay too, unless --pruned extends them to their end. A search (hydra/sweeper=tpe) goes on too, and is "
        "driven from here until it is over."
    )
    examples = [
        ("rlpipe sweep DIR resume", "everything that is not done"),
        ("rlpipe sweep DIR resume 3 7 --wait", "two arms, and watch them"),
        ("rlpipe sweep DIR resume --pruned 5", "a pruned arm, to its end"),
        ("rlpipe sweep DIR resume --trials 64", "a search, to 64 settings"),
    ]
    text = page(about, examples, WATCHED)
    parser = commands.add_parser("resume", help="run again what is missing, stopped, cancelled or failed", **text)
    parser.add_argument("--pruned", action="store_true", help="extend pruned arms too: no rung ends them any more")
    parser.add_argument("--trials", metavar="N", type=int, help="of a search: how many settings it is to try in all")
    return parser


def _add_cancel(commands: Subparsers) -> argparse.ArgumentParser:
    about = "End all jobs, or the named ones. What is done stays, and resume goes on with the rest."
    examples = [("rlpipe sweep DIR cancel", "all of it"), ("rlpipe sweep DIR cancel 5 6", "two arms")]
    return commands.add_parser("cancel", help="end all jobs, or the named ones", **page(about, examples))


def _add_add(commands: Subparsers) -> argparse.ArgumentParser:
    about = (
        "Extend the sweep by the arms that it lacks when a field takes these values. They are checked like those "
        "of a new sweep; arms that are there already are not run again."
    )
    examples = [
        ("rlpipe sweep DIR add seed=3,4", "two more seeds of every arm"),
        ("rlpipe sweep DIR add method=simpo --wait", "another method with all seeds, and watch it"),
    ]
    added = commands.add_parser("add", help="extend the sweep: add seed=3,4", **page(about, examples, WATCHED))
    added.add_argument("overrides", nargs="+", metavar="FIELD=VALUES", help="as on the sweep's own command line")
    return added


def _add_confirm(commands: Subparsers) -> argparse.ArgumentParser:
    about = (
        "Measure the winning setting again, on fresh seeds that run to their end as arms of this sweep. What is chosen "
        "as the best of many is partly the luckiest; the report's headline is then the confirmed number, and how many "
        "arms it was chosen from. The winner is the best by watch.metric where the sweep has one, else by objective."
    )
    examples = [
        ("rlpipe sweep DIR confirm --seeds 5", "five fresh seeds, with the sweep's launcher"),
        ("rlpipe sweep DIR confirm --seeds 8", "three more"),
    ]
    parser = commands.add_parser("confirm", help="measure the winner on fresh seeds", **page(about, examples, WATCHED))
    parser.add_argument("--seeds", metavar="N", type=int, default=5, help="how many fresh seeds it is to have (5)")
    return parser


def _add_logs(commands: Subparsers) -> argparse.ArgumentParser:
    about = "Print the end of jobs' logs: what the run and its libraries said."
    examples = [
        ("rlpipe sweep DIR logs 2 --follow", "one arm's, as it grows, until it is over"),
        ("rlpipe sweep DIR logs -n 5", "the last five lines of each"),
    ]
    logs = commands.add_parser("logs", help="print the end of jobs' logs", **page(about, examples))
    logs.add_argument("-n", "--lines", metavar="N", type=int, default=40, help="how many lines of each (default 40)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows (one job)")
    return logs


def status(sweep: Sweep, launcher: Launcher) -> int:
    """Show how every job stands, once."""
    show(table(look(sweep, launcher)))
    return DONE


def follow(sweep: Sweep, launcher: Launcher) -> int:
    """Show how the sweep gets on until it is over."""
    return DONE if report(sweep, watch(sweep, launcher)) else UNWELL


def resume(sweep: Sweep, launcher: Launcher, keys: Sequence[str], wait: bool, pruned: bool = False) -> int:
    """Run again what is missing, stopped, cancelled or failed, all of it or the named jobs; what runs is left alone.

    With `pruned` also what did not go on at a rung.
    """
    now = look(sweep, launcher)
    chosen = _chosen(now, keys)
    jobs = resumable(sweep, now, chosen, pruned)
    if not jobs:
        say(f"nothing to run again: {summary(chosen)}")
        if any(one.state is State.pruned for one in chosen):
            say(advice("extend pruned arms: resume --pruned"))
        return DONE
    launcher.submit(jobs)
    say(f"submitted again: {', '.join(job.key for job in jobs)}")
    return _wait(sweep, launcher, wait)


def search_on(sweep: Sweep, trials: int | None, pruned: bool) -> int:
    """Go on with a search as its driver, until all its settings are told."""
    from rlpipe.cli.run import run
    from rlpipe.sweep.search import go_on

    go_on(sweep, trials, pruned, run)
    return DONE


def cancel(sweep: Sweep, launcher: Launcher, keys: Sequence[str]) -> int:
    """End the sweep, or the named jobs of it; what is done stays."""
    if is_search(sweep) and not keys:
        end(sweep)  # first, so that its driver takes nobody's end for a failure and draws nothing more
    alive = [one.job for one in _chosen(look(sweep, launcher), keys) if not one.state.over]
    if not alive:
        say("nothing to cancel: no job is queued or running")
        return DONE
    launcher.cancel(alive)
    say(f"cancelled: {', '.join(job.key for job in alive)}")
    return DONE


def add(sweep: Sweep, launcher: Launcher, overrides: Sequence[str], wait: bool) -> int:
    """Extend the sweep by the arms that further values of a field make."""
    from rlpipe.cli.run import run
    from rlpipe.sweep.extend import extend

    fresh = extend(sweep, overrides, run)
    if not fresh:
        say("nothing to add: the sweep has all these arms already")
        return DONE
    return _wait(sweep, launcher, wait)


def confirm(sweep: Sweep, launcher: Launcher, seeds: int, wait: bool) -> int:
    """Measure the winning setting again on fresh seeds."""
    from rlpipe.cli.run import run
    from rlpipe.sweep.confirm import confirm as confirmed

    if seeds < 2:
        raise LaunchError("--seeds", f"{seeds} says nothing about how far seeds matter", "give at least 2")
    if not confirmed(sweep, look(sweep, launcher), seeds, run):
        say(f"nothing to add: its {seeds} fresh seeds are arms of the sweep already")
        return DONE
    return _wait(sweep, launcher, wait)


def _wait(sweep: Sweep, launcher: Launcher, wait: bool) -> int:
    if wait:
        return follow(sweep, launcher)
    say(come_back(sweep))
    return DONE


def logs(sweep: Sweep, launcher: Launcher, keys: Sequence[str], lines: int, go_on: bool) -> int:
    """Print the end of jobs' logs, and go on with one job's as it grows."""
    jobs = [one.job for one in _chosen(look(sweep, launcher), keys)]
    if go_on and len(jobs) != 1:
        raise LaunchError("logs --follow", "follows one job", "name it: logs JOB --follow")
    for job in jobs:
        if len(jobs) > 1:
            print(f"==> {job.key} <==")
        sys.stdout.writelines(visible(line) for line in _tail(_log(sweep, job), lines))
    if go_on:
        _follow(_log(sweep, jobs[0]), lambda: look(sweep, launcher), jobs[0].key)
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
                sys.stdout.write(visible(file.read()))
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
