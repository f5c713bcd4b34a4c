"""A comparison as tables: on a terminal, in Markdown, as CSV for a spreadsheet, as JSON for a program."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rlpipe.core.terminal import count, duration, gigabytes
from rlpipe.report.comparison import (
    BEFORE,
    ArmMean,
    ArmSummary,
    Comparison,
    Difference,
    EvaluationComparison,
)
from rlpipe.report.verdicts import p_value_text

MOST_SEEDS = 8
"""Seeds that have a column of their own in the table."""
MOST_LINES = 20
"""Sentences below a table on the terminal; files have all."""

_JUDGED = ("p", "p_holm", "verdict", "words", "more_examples", "more_seeds", "together", "settle")
_COSTS = ("seconds", "tokens", "gpu_hours", "peak_memory")
_INTERVALS = ("mean", "low", "high", "examples", "seeds", "difference", "difference_low", "difference_high")
COLUMNS = (
    "evaluation",
    "metric",
    "arm",
    "baseline",
    "seed",
    "run",
    "standing",
    *_INTERVALS,
    *_JUDGED,
    *_COSTS,
    "error",
)
"""The CSV's columns. A row without a seed and a run is an arm's, the others are single runs'."""


@dataclass(frozen=True)
class Sheet:
    """One table in words."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    lines: list[str] = field(default_factory=list)
    """What stands below it."""


def sheets(comparison: Comparison) -> list[Sheet]:
    """Return a comparison's tables: two an evaluation, then what ran and what it cost."""
    found = []
    for one in comparison.evaluations:
        found.append(_means(one))
        found += _differences(one, comparison.baseline)
    return [*found, _runs(comparison)]


def terminal(comparison: Comparison) -> RenderableType:
    """Return what rich draws of a comparison."""
    parts: list[RenderableType] = []
    for sheet in sheets(comparison):
        table = Table(title=Text(sheet.title), title_justify="left", title_style="bold")
        for place, head in enumerate(sheet.heads):
            table.add_column(head, overflow="fold", justify="left" if place == 0 or head in _WORDS else "right")
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))
        lines = sheet.lines[:MOST_LINES]
        more = len(sheet.lines) - len(lines)
        lines += [f"and {more} more lines: write them to a file with --output"] if more else []
        parts += [table, *map(Text, lines), Text("")]
    return Group(*parts)


_WORDS = ("verdict", "runs")


def markdown(comparison: Comparison) -> str:
    """Return a comparison as Markdown."""
    parts = []
    for sheet in sheets(comparison):
        marks = ["---" if place == 0 or head in _WORDS else "---:" for place, head in enumerate(sheet.heads)]
        rows = [sheet.heads, marks, *([_escaped(cell) for cell in row] for row in sheet.rows)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        below = "".join(f"\n- {_escaped(line)}" for line in sheet.lines)
        parts.append(f"## {_escaped(sheet.title)}\n\n{table}\n{below}".rstrip())
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    for mark in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", " ")


# -- tables in words


def _means(one: EvaluationComparison) -> Sheet:
    """Arms by seeds."""
    seeds = sorted({run.seed for arm in one.arms for run in arm.seeds if run.seed is not None})
    shown = seeds if len(seeds) <= MOST_SEEDS else []
    rows = []
    for arm in one.arms:
        by_seed = {run.seed: run.mean for run in arm.seeds}
        cells = [_number(by_seed.get(seed)) for seed in shown]
        examples = [str(arm.examples)] if one.kind == "examples" else []
        rows.append([arm.arm, *cells, str(len(arm.seeds)), *examples, _number(arm.mean), _interval(arm.low, arm.high)])
    heads = ["arm", *(f"seed {seed}" for seed in shown), "seeds", *(["examples"] if one.kind == "examples" else [])]
    return Sheet(f"{one.name}: {one.score}", [*heads, "mean", "95 % interval"], rows, _remarks(one))


def _remarks(one: EvaluationComparison) -> list[str]:
    """Say once what holds for several arms."""
    arms_of: dict[str, list[str]] = {}
    for arm in one.arms:
        if arm.note:
            arms_of.setdefault(arm.note, []).append(arm.arm)
    lines = [f"{_some(arms, len(one.arms))}: {note}" for note, arms in arms_of.items()]
    for refusal in one.refused:
        lines.append(
            f"{refusal.arm} not compared ({', '.join(refusal.runs[:MOST_SEEDS])}): {'; '.join(refusal.reasons)}"
        )
    return lines + one.notes


def _some(arms: Sequence[str], whole: int) -> str:
    if len(arms) == whole:
        return "all arms" if whole > 1 else arms[0]
    return ", ".join(arms[:4]) + (f" and {len(arms) - 4} more" if len(arms) > 4 else "")


def _differences(one: EvaluationComparison, baseline: str | None) -> Iterator[Sheet]:
    if not one.differences:
        return
    heads = ["arm", "difference", "95 % interval", "p (Holm)", "verdict"]
    rows = []
    lines = []
    for difference in one.differences:
        p = "" if difference.p_holm is None else p_value_text(difference.p_holm).removeprefix("p ").removeprefix("= ")
        interval = _interval(difference.low, difference.high, signed=True)
        rows.append([difference.arm, _number(difference.value, signed=True), interval, p, difference.verdict])
        lines.append(f"{difference.arm}: {difference.words}" + (f"; {difference.settle}" if difference.settle else ""))
    against = "the start of training" if one.differences[0].baseline == BEFORE else one.differences[0].baseline
    yield Sheet(f"{one.name}: difference from {against}", heads, rows, lines)


def _runs(comparison: Comparison) -> Sheet:
    rows = []
    lines = []
    for arm in comparison.arms:
        rows.append([arm.label, _standings(arm), *_cost(arm)])
        for run in arm.absent:
            seed = f", seed {run.seed}" if run.seed is not None else ""
            lines.append(f"{run.standing}: {arm.label}{seed} ({run.name})" + (f": {run.error}" if run.error else ""))
    heads = ["arm", "runs", "time", "tokens", "GPU hours", "memory"]
    return Sheet("runs and what they cost", heads, rows, lines + comparison.notes)


def _standings(arm: ArmSummary) -> str:
    counts: dict[str, int] = {}
    for run in arm.runs:
        counts[run.standing] = counts.get(run.standing, 0) + 1
    return ", ".join(f"{number} {standing}" for standing, number in counts.items())


def _cost(arm: ArmSummary) -> list[str]:
    seconds, tokens, hours, memory = (arm.cost.get(name) for name in _COSTS)
    return [
        duration(seconds) if seconds is not None else "",
        count(tokens) if tokens is not None else "",
        f"{hours:.3g}" if hours is not None else "",
        gigabytes(memory) if memory is not None else "",
    ]


def _number(value: float | None, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def _interval(low: float | None, high: float | None, signed: bool = False) -> str:
    if low is None or high is None:
        return "–"
    return f"{low:+.3g} … {high:+.3g}" if signed else f"{low:.4g} … {high:.4g}"


# -- CSV


def to_csv(comparison: Comparison) -> str:
    """Return a comparison as CSV: for each evaluation a row an arm, each followed by its runs' rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for one in comparison.evaluations:
        differences = {difference.arm: difference for difference in one.differences}
        means = {mean.arm: mean for mean in one.arms}
        for arm in comparison.arms:
            row = {"evaluation": one.name, "metric": one.score, "arm": arm.label}
            mean = means[arm.label]
            writer.writerow({**row, **_arm_row(arm, mean, differences.get(arm.label))})
            writer.writerows({**row, **run} for run in _run_rows(arm, mean))
    if not comparison.evaluations:
        for arm in comparison.arms:
            writer.writerows({"arm": arm.label, **run} for run in _run_rows(arm, None))
    return text.getvalue()


def _arm_row(arm: ArmSummary, mean: ArmMean, difference: Difference | None) -> dict[str, object]:
    row = {"mean": mean.mean, "low": mean.low, "high": mean.high, "examples": mean.examples, "seeds": len(mean.seeds)}
    found: dict[str, object] = {**row, "standing": _standings(arm), "error": mean.note, **_costs(arm.cost)}
    if difference is not None:
        found |= {
            "baseline": difference.baseline,
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
        }
        found |= {name: getattr(difference, name) for name in _JUDGED}
    return found


def _run_rows(arm: ArmSummary, mean: ArmMean | None) -> Iterator[dict[str, object]]:
    means = {run.run: run for run in mean.seeds} if mean is not None else {}
    for run in arm.runs:
        arm_mean = means.get(run.name)
        yield {
            "seed": run.seed,
            "run": run.name,
            "standing": run.standing,
            "mean": arm_mean.mean if arm_mean is not None else None,
            "examples": arm_mean.examples if arm_mean is not None else None,
            "error": run.error,
            **_costs(run.cost),
        }


def _costs(cost: dict[str, float]) -> dict[str, object]:
    return {name: cost.get(name) for name in _COSTS}
