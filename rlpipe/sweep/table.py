"""How a sweep is shown: a table with one row a job, and the lines of what changes where nobody watches a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlpipe.core.terminal import duration
from rlpipe.records.sweep import Kind
from rlpipe.sweep.states import Standing, State, counts

STYLES = {
    State.failed: "red",
    State.cancelled: "red",
    State.stopped: "yellow",
    State.running: "cyan",
    State.done: "green",
    State.queued: "dim",
    State.unsubmitted: "dim",
}
_URGENCY = (
    State.failed, State.cancelled, State.stopped, State.running, State.queued, State.unsubmitted, State.done,
)  # fmt: skip
"""What is kept when not all rows fit."""


def table(standings: Sequence[Standing], rows: int | None = None) -> RenderableType:
    """Return all jobs as a table, or the `rows` that matter most and how many more there are."""
    shown, hidden = _fitting(standings, rows)
    fields = list(dict.fromkeys(name for one in shown for name in one.job.fields))
    drawn = Table(box=None, pad_edge=False)
    for name in ("job", *fields, "state", "step", "number", "cost", "where"):
        drawn.add_column(name, no_wrap=True)
    drawn.add_column("", overflow="fold")
    for one in shown:
        values = [one.job.fields.get(name, "") for name in fields]
        state = Text(one.state.value, style=STYLES[one.state])
        drawn.add_row(
            one.job.key, *values, state, step(one), number(one), _cost(one), where(one), Text(detail(one), style="dim")
        )
    parts: list[RenderableType] = [drawn]
    if hidden:
        parts.append(Text(f"… and {summary(hidden)} more", style="dim"))
    parts.append(Text(summary(standings)))
    return Group(*parts)


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
    text = one.detail.strip().splitlines()[-1] if one.detail.strip() else ""
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
