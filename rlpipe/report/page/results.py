"""The results as the page shows them: a sentence, and tables of arms or of changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.core.files import Row
from rlpipe.core.terminal import count, duration, gigabytes, is_number
from rlpipe.records.changes import Change, changes
from rlpipe.report.arms import Arm
from rlpipe.report.page import headline
from rlpipe.report.page.effects import outcome_names
from rlpipe.report.page.texts import number

if TYPE_CHECKING:
    from rlpipe.report.comparison import ArmSummary, Comparison, Difference, EvaluationComparison

MOST_COLUMNS = 12
"""Numbers that the table of runs without a comparison has."""
MOST_SEEDS = 5
"""Seeds that have a column of their own."""

_TONES = {"better": "good", "worse": "bad"}
_COSTS = (
    ("seconds", "time", duration),
    ("tokens", "tokens", count),
    ("gpu_hours", "GPU hours", number),
    ("peak_memory", "memory", gigabytes),
)


@dataclass(frozen=True)
class Results:
    """What the page says of the results."""

    headline: Row
    """`text`, the sentence, and `lines` below it."""
    tables: list[Row]
    baseline: int
    """The arm that others are compared with."""
    order: list[int]
    """Arms, the best first."""
    outcomes: list[str]
    """Summary numbers that sweeps are looked at by, the most important first."""


def results(arms: Sequence[Arm], comparison: Comparison | None) -> Results:
    """Return the results of arms, from their comparison where there is one."""
    runs = [run for arm in arms for run in arm.runs]
    everyone = list(range(len(arms)))
    if len(runs) == 1:
        found = list(changes(runs[0].summary))
        tables = [_before_after(found)] if found else []
        return Results(headline.of_run(runs[0], found), tables, 0, everyone, outcome_names(runs))
    if comparison is None:
        names = outcome_names(runs)
        return Results(headline.of_numbers(arms, bool(names)), _plain(arms, names), 0, everyone, names)
    return _compared(arms, comparison)


def _before_after(found: Sequence[Change]) -> Row:
    rows = []
    for one in found:
        better = one.low is not None and one.low > 0
        verdict = ("better" if better else "worse") if one.separable else "not separable from no change"
        rows.append({**vars(one), "verdict": verdict, "tone": _TONES.get(verdict, "")})
    return {"kind": "change", "title": "Before and after", "about": "", "notes": [], "rows": rows}


def _compared(arms: Sequence[Arm], comparison: Comparison) -> Results:
    places = {arm.label: place for place, arm in enumerate(arms)}
    main = headline.main_evaluation(comparison, arms[0].runs[0].config.get("objective"))
    evaluations = sorted(comparison.evaluations, key=lambda one: one is not main)
    order = list(places.values())
    if main is not None:
        means = {places[one.arm]: one.mean for one in main.arms}
        order.sort(key=lambda place: -_or_least(means.get(place)))
    first = f"after/{main.name}/" if main is not None else ""
    names = outcome_names([run for arm in arms for run in arm.runs])
    return Results(
        headline=headline.of_comparison(comparison, main),
        tables=[_table(one, comparison, places) for one in evaluations],
        baseline=places.get(comparison.baseline or "", 0),
        order=order,
        outcomes=sorted(names, key=lambda name: not (first and name.startswith(first))),
    )


def _table(one: EvaluationComparison, comparison: Comparison, places: dict[str, int]) -> Row:
    """Return one evaluation's table: a row an arm, the best first, those without a result last."""
    differences = {difference.arm: difference for difference in one.differences}
    seeds = sorted({seed.seed for arm in one.arms for seed in arm.seeds if seed.seed is not None})
    seeds = seeds if 1 < len(seeds) <= MOST_SEEDS else []
    summaries = {arm.label: arm for arm in comparison.arms}
    costs = [cost for cost in _COSTS if any(arm.cost.get(cost[0]) for arm in comparison.arms)]
    base = next((arm.mean for arm in one.arms if arm.arm == comparison.baseline), None)
    rows = []
    for arm in sorted(one.arms, key=lambda arm: -_or_least(arm.mean)):
        summary = summaries[arm.arm]
        row = {"arm": places[arm.arm], "label": arm.arm, "baseline": arm.arm == comparison.baseline}
        row |= {"mean": arm.mean, "low": arm.low, "high": arm.high, "note": arm.note, "chips": _chips(summary)}
        row |= _difference(differences.get(arm.arm))
        by_seed = {seed.seed: seed.mean for seed in arm.seeds}
        row["seeds"] = [by_seed.get(seed) for seed in seeds]
        row["costs"] = [_cost(summary.cost.get(name), say) for name, _, say in costs]
        rows.append(row)
    start = "its own start" if comparison.baseline == "before" else comparison.baseline
    return {
        "kind": "arms",
        "title": one.name if one.score == "score" else f"{one.name}: {one.score}",
        "about": f"differences from {start}" if one.differences else "",
        "notes": _notes(one),
        "score": "mean" if one.kind == "examples" else "mean over seeds",
        "paired": bool(one.differences),
        "reference": base,
        "scale": _scale([end for arm in one.arms for end in (arm.low, arm.mean, arm.high) if end is not None]),
        "seeds": [f"seed {seed}" for seed in seeds],
        "costs": [title for _, title, _ in costs],
        "rows": rows,
    }


def _difference(one: Difference | None) -> Row:
    if one is None:
        nothing = dict.fromkeys(("difference", "difference_low", "difference_high", "p"))
        return {**nothing, "verdict": "", "words": "", "tone": "", "settle": ""}
    return {
        "difference": one.value,
        "difference_low": one.low,
        "difference_high": one.high,
        "p": one.p_holm,
        "verdict": one.verdict,
        "words": f"{one.words}. {one.settle}".strip(),
        "tone": _TONES.get(one.verdict, ""),
        "settle": _settle(one),
    }


def _settle(one: Difference) -> str:
    """Return what would settle a difference, short; the sentence has the conditions."""
    ways = [f"{one.more_examples:,} more examples"] if one.more_examples else []
    ways += [f"{one.more_seeds:,} more seeds"] if one.more_seeds else []
    return f"needs {' or '.join(ways)}" if ways else ""


def _notes(one: EvaluationComparison) -> list[str]:
    """Say what the table covers, and which runs were not compared and why."""
    examples = {arm.examples for arm in one.arms if arm.mean is not None}
    seeds = {len(arm.seeds) for arm in one.arms if arm.mean is not None}
    covers = f"{_range(examples)} examples, " if one.kind == "examples" else ""
    found = [f"{covers}{_range(seeds)} {'seed' if seeds == {1} else 'seeds'} an arm."] if seeds else []
    found += [f"{refusal.arm} is not compared: {'; '.join(refusal.reasons)}" for refusal in one.refused]
    shared = dict.fromkeys(arm.note for arm in one.arms if arm.note)
    return found + list(one.notes) + list(shared)


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _chips(arm: ArmSummary) -> list[Row]:
    """Return the runs of an arm without a result, counted by how they stand."""
    absent = Counter(run.standing for run in arm.absent)
    total = len(arm.runs)
    return [{"kind": name, "text": f"{n} of {total} {name}" if total > 1 else name} for name, n in absent.items()]


def _cost(value: float | None, say: Callable[[float], str]) -> tuple[float | None, str]:
    return value, "" if value is None else say(value)


def _scale(ends: Sequence[float]) -> Callable[[float], float]:
    """Return where a number stands on the axis that all of a table's intervals share, in per cent."""
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    width = (high - low) or 1.0
    return lambda value: round(3 + 94 * (value - low) / width, 2)


def _plain(arms: Sequence[Arm], names: Sequence[str]) -> list[Row]:
    """Return the table of runs that are not compared: an arm's mean of each number, and its range over seeds."""
    if not names:
        return []
    rows = []
    for place, arm in enumerate(arms):
        cells = []
        for name in names[:MOST_COLUMNS]:
            values = [float(value) for run in arm.runs if is_number(value := run.summary.get(name))]
            spread = f"{number(min(values))} … {number(max(values))}" if len(values) > 1 else ""
            cells.append((sum(values) / len(values) if values else None, spread))
        chips = [{"kind": name, "text": name} for name in sorted({run.standing.value for run in arm.runs} - {"ok"})]
        rows.append({"arm": place, "label": arm.label, "baseline": False, "chips": chips, "cells": cells})
    heads = list(names[:MOST_COLUMNS])
    return [{"kind": "plain", "title": "Numbers at the end", "about": "", "notes": [], "heads": heads, "rows": rows}]


def _or_least(mean: float | None) -> float:
    return mean if mean is not None else -float("inf")
