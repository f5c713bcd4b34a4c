"""Watching a sweep until nothing more comes by itself: a live table on a terminal, a line a change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.live import Live

from rlpipe.core.errors import advice
from rlpipe.core.terminal import console, say, show
from rlpipe.launchers.base import Launcher
from rlpipe.records.sweep import Kind, Sweep
from rlpipe.sweep.states import Standing, State, standings
from rlpipe.sweep.table import changes, detail, summary, table

HOPELESS = 60.0
"""Seconds after which nobody goes on watching when all that is left waits for what never comes."""
MARGIN = 8
"""Lines of the terminal that are not the table's."""


class Patience:
    """How long it is worth waiting when all that is left waits for what never comes."""

    def __init__(self) -> None:
        self._hopeless_since: float | None = None

    def is_out(self, now: Sequence[Standing]) -> bool:
        """Whether all that is not over has been hopeless for too long."""
        left = [one for one in now if not one.state.over]
        if not left or not all(one.hopeless for one in left):
            self._hopeless_since = None
            return False
        if self._hopeless_since is None:
            self._hopeless_since = time.monotonic()
        return time.monotonic() - self._hopeless_since > HOPELESS


def watch(sweep: Sweep, launcher: Launcher, interval: float = 1.0) -> list[Standing]:
    """Show how a sweep gets on until every job is over, and return how all stand.

    It also ends when everything that is left is hopeless, which the caller finds in what is returned. On Ctrl-C
    the jobs go on: it says how to come back and raises KeyboardInterrupt.
    """
    patience = Patience()
    try:
        with shown(sweep) as show:
            while True:
                now = look(sweep, launcher)
                show(now)
                if all(one.state.over for one in now) or patience.is_out(now):
                    return now
                time.sleep(interval)
    except KeyboardInterrupt:
        say(f"\nno longer watching; the jobs go on\n{come_back(sweep)}")
        raise


def look(sweep: Sweep, launcher: Launcher) -> list[Standing]:
    """Return how every job stands at this moment."""
    return standings(sweep, launcher.statuses(sweep.jobs))


def come_back(sweep: Sweep) -> str:
    """Return what to type to see, watch or end a sweep."""
    command = f"rlpipe sweep {sweep.folder}"
    return f"{advice(f'see how it gets on: {command} watch')}\n{advice(f'end it: {command} cancel')}"


@contextmanager
def shown(sweep: Sweep) -> Iterator:
    """Yield what draws standings: a live table on a terminal, else lines of what has changed."""
    terminal = console()
    if not terminal.is_terminal:
        known: dict[str, Standing] = {}

        def update(now: Sequence[Standing]) -> None:
            for line in changes(known, now):
                say(line)
            known.update({one.job.key: one for one in now})

        yield update
        return
    with Live(console=terminal, auto_refresh=False, transient=True) as live:

        def draw(now: Sequence[Standing]) -> None:
            live.update(table(now, max(terminal.height - MARGIN, 5)), refresh=True)

        yield draw


def report(sweep: Sweep, now: Sequence[Standing]) -> bool:
    """Show how a sweep stands in the end, with every failure's error; return whether all arms are done or pruned.

    The sweep's page (`report.html`) is written anew.
    """
    show(table(now))
    unwell = [one for one in now if one.state in (State.failed, State.cancelled, State.gone)]
    for one in unwell:
        log = sweep.job_folder(one.job) / "log.txt"
        words = detail(one) or "it left no word"
        say(f"{one.job.kind.value} {one.job.key} {one.state.value}: {words}\n{advice(f'its log: {log}')}")
    hopeless = [one.job.key for one in now if one.hopeless]
    if hopeless:
        say(f"hopeless: {', '.join(hopeless)} wait for what will never come\n{come_back(sweep)}")
    arms = [one for one in now if one.job.kind is Kind.arm]
    well = all(one.state in (State.done, State.pruned) for one in arms)
    if not well and all(one.state.over for one in now):
        again = advice(f"run what is missing again: rlpipe sweep {sweep.folder} resume")
        say(f"not every arm is done ({summary(now)})\n{again}")
    from rlpipe.report.page.at_end import write_sweep

    write_sweep(sweep.folder)
    return well
