"""How a sweep is shown: a table with one row a job, and the lines of what changes where nobody watches a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from rlpipe.core.terminal import duration
from rlpipe.records.sweep import Kind
from rlpipe.sweep.states import Standing, State, counts

STYLES = {
    State.failed: "red",
    State.gone: "red",
    State.cancelled: "red",
    State.stopped: "yellow",
    State.running: "cyan",
    State.done: "green",
    State.pruned: "magenta",
    State.queued: "dim",
    State.unsubmitted: "dim",
}
_URGENCY = (
    State.failed, State.gone, State.cancelled, State.stopped, State.running,
    State.queued, State.unsubmitted, State.done, State.pruned,
)  # fmt: skip
"""What is kept when not all rows fit."""


def table(standings: Sequence[Standing], rows: int | None = None) -> RenderableType:
    """Return all jobs as a table, or the `rows` that matter most and how many more there are."""
    shown, hidden = _fitting(standings, rows)
    parts: list[RenderableType] = [_Jobs(shown)]
    if hidden:
        parts.append(Text(f"… and {summary(hidden)} more", style="dim"))
    parts.append(Text(summary(standings)))
    return Group(*parts)


DETAIL = 40
"""Columns that what there is to say of a job needs beside the others; else it stands below them."""
SPARED = ("where", "cost", "number", "step")
"""The columns that a narrow terminal goes without, the first of them first."""


@dataclass(frozen=True)
class _Jobs:
    """A row a job, as wide as there is room for."""

    jobs: Sequence[Standing]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns, width = self._columns(), options.max_width
        for spared in SPARED:
            if _needed(columns) > width:
                del columns[spared]
        details = {one.job.key: text for one in self.jobs if (text := detail(one))}
        fits = _needed(columns) + DETAIL <= width
        if details and fits:
            columns[""] = [details.get(one.job.key, "") for one in self.jobs]
        drawn = Table(box=None, pad_edge=False)
        for name in columns:
            drawn.add_column(name, no_wrap=name != "", overflow="fold", style=None if name else "dim")
        for one, row in zip(self.jobs, zip(*columns.values(), strict=True), strict=True):
            state = Text(one.state.value, style=STYLES[one.state])
            drawn.add_row(*(state if name == "state" else cell for name, cell in zip(columns, row, strict=True)))
        yield drawn
        if not fits:
            yield from (Text(f"{key}: {text}", style="dim") for key, text in details.items())

    def _columns(self) -> dict[str, list[str]]:
        """Return the cells of all columns but the last, by their headings."""
        fields = dict.fromkeys(name for one in self.jobs for name in one.job.fields)
        return {
            "job": [one.job.key for one in self.jobs],
            **{name: [one.job.fields.get(name, "") for one in self.jobs] for name in fields},
            "state": [one.state.value for one in self.jobs],
            "step": [step(one) for one in self.jobs],
            "number": [number(one) for one in self.jobs],
            "cost": [_cost(one) for one in self.jobs],
            "where": [where(one) for one in self.jobs],
        }


def _needed(columns: Mapping[str, Sequence[str]]) -> int:
    """Return how many columns of a terminal a table takes."""
    return sum(max(map(cell_len, (name, *cells))) + 1 for name, cells in columns.items())


def _fitting(standings: Sequence[Standing], rows: int | None) -> tuple[list[Standing], list[Standing]]:
    """Split jobs into those that fit, in their order, and the rest."""
    if rows is None or len(standings) <= rows:
        return list(standings), []
    urgent = sorted(range(len(standings)), key=lambda i: _URGENCY.index(standings[i].state))[: max(rows, 1)]
    kept = set(urgent)
    return [standings[i] for i in sorted(kept)], [one for i, one in enumerate(standings) if i not in kept]


def summary(standings: Sequence[Standing]) -> str:
    """Return `3 running, 1 failed, 4 done` of the arms, and of stages where there are any."""
    arms = [one for one in standings if one.job.kind is Kind.arm]
    stages = [one for one in standings if one.job.kind is Kind.stage]
    parts = [f"{_count(group)} ({word})" for word, group in (("stages", stages), ("arms", arms)) if group]
    return "; ".join(parts) if stages else _count(arms)


def _count(standings: Sequence[Standing]) -> str:
    return ", ".join(f"{number} {state.value}" for state, number in counts(standings).items())


def step(one: Standing) -> str:
    """Return `120/500`, as far as it is known."""
    if one.step is None:
        return ""
    return f"{one.step}/{one.job.steps}" if one.job.steps else str(one.step)


def number(one: Standing) -> str:
    """Return the number that is worth showing, with its name."""
    return f"{one.metric[0]} {one.metric[1]:.4g}" if one.metric else ""


def where(one: Standing) -> str:
    """Return the scheduler's id of a job and the node that it is on."""
    return " ".join(part for part in (one.job_id, one.place) if part)


def detail(one: Standing) -> str:
    """Return what there is to say of a job's state."""
    text = " ".join(line.strip() for line in one.detail.strip().splitlines())
    if one.hopeless:
        return f"hopeless: {text}"
    return text


def _cost(one: Standing) -> str:
    return duration(one.seconds) if one.seconds is not None else ""


def changes(before: Mapping[str, Standing], now: Sequence[Standing]) -> list[str]:
    """Return a line for each job whose state is another than `before` (by key), for logs and pipes."""
    lines = []
    for one in now:
        old = before.get(one.job.key)
        same = old is not None and (old.state, old.hopeless) == (one.state, one.hopeless)
        if same or (old is None and one.state is State.unsubmitted):
            continue
        fields = " ".join(f"{name}={value}" for name, value in one.job.fields.items())
        parts = (f"{one.job.kind.value} {one.job.key}", fields, one.state.value, step(one), number(one), detail(one))
        lines.append("  ".join(part for part in parts if part))
    return lines
