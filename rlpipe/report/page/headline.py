"""The result in a sentence: what won and by how much, or that nothing can be told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlpipe.core.files import Row
from rlpipe.records.changes import Change
from rlpipe.records.runs import Run
from rlpipe.report.arms import Arm
from rlpipe.report.page.texts import brief, plus, pvalue
from rlpipe.report.selection import CHOSEN, SAME_EXAMPLES

if TYPE_CHECKING:
    from rlpipe.report.comparison import Comparison, Difference, EvaluationComparison

MOST_LINES = 4

_UNFINISHED = {
    "failed": "The run failed",
    "stopped": "The run was stopped and can go on",
    "pruned": "The run was pruned at a rung of its sweep",
    "running": "The run is still going",
    "killed": "The run was killed",
    "missing": "The run has not begun",
    "damaged": "The run's record cannot be read",
}
_UP, _DOWN = ("better", "higher"), ("worse", "lower")


def of_run(run: Run, found: Sequence[Change]) -> Row:
    """Say what training changed in one run, or how the run ended."""
    if run.standing.value in _UNFINISHED:
        steps = run.cost.get("steps")
        after = f" after {steps:,.0f} steps" if steps else ""
        return {"text": _UNFINISHED[run.standing.value] + after + ".", "lines": [run.error] if run.error else []}
    changes = [_change(one) for one in found if one.low is not None]
    if changes:
        return {"text": changes[0], "lines": changes[1:MOST_LINES]}
    for one in found:
        value = one.before if one.after is None else one.after
        if value is not None:
            return {"text": f"{_name(one)} is {brief(value)}.", "lines": []}
    return {"text": "The run has ended well; nothing was measured.", "lines": []}


def of_numbers(arms: Sequence[Arm], measured: bool) -> Row:
    """Say what there is where nothing was compared."""
    runs = sum(len(arm.runs) for arm in arms)
    what = f"{runs} runs of {len(arms)} arms" if len(arms) < runs else f"{runs} runs"
    return {"text": f"{what}, not compared.", "lines": [] if measured else ["None has measured anything yet."]}


def main_evaluation(comparison: Comparison, objective: str | None) -> EvaluationComparison | None:
    """Return the evaluation that the sentence is about: the objective's, else the first that compares arms."""
    named = (objective or "//").split("/")[1]
    found = comparison.evaluations
    return next((one for one in found if one.name == named), None) or next(
        (one for one in found if one.differences), found[0] if found else None
    )


def of_comparison(comparison: Comparison, main: EvaluationComparison | None) -> Row:
    """Say what the confirmed winner scores; else which arm won, or why none can be said to have."""
    if main is not None and (confirmed := _confirmed(comparison, main)) is not None:
        return confirmed
    if main is None or not any(one.value is not None for one in main.differences):
        return {"text": "Nothing can be compared yet.", "lines": _reasons(comparison, main)}
    compared = [one for one in main.differences if one.value is not None]
    up = sorted((one for one in compared if one.verdict in _UP), key=lambda one: -(one.value or 0))
    down = [one for one in compared if one.verdict in _DOWN]
    lines = [line for other in comparison.evaluations if other is not main for line in _tally(other)]
    if up:
        text = _won(up[0], main)
        others = [one.arm for one in up[1:]]
        also = [f"Also {up[0].verdict} than the baseline: {_names(others)}."] if others else []
        lines = [*also, *(_sentence(note) for note in comparison.notes if note.startswith(CHOSEN)), *lines]
    elif len(down) == len(compared):
        every = "The other arm is" if len(down) == 1 else f"All {len(down)} other arms are"
        text = f"{every} {down[0].verdict} than {_base(down[0])} on {main.name}."
        lines = [_numbers(one) for one in down[:2]] + lines
    else:
        largest = max((one for one in compared if one not in down), key=lambda one: abs(one.value or 0))
        alone = f"{largest.arm} is not separable from"
        whom = alone if len(compared) == 1 else "No arm is better than" if down else "No arm is separable from"
        text = f"{whom} {_base(largest)} on {main.name}."
        lines = [f"Largest difference: {_numbers(largest)}.", *_settle(largest), *lines]
    return {"text": text, "lines": lines[:MOST_LINES]}


def _confirmed(comparison: Comparison, main: EvaluationComparison) -> Row | None:
    """Say what the fresh seeds of a sweep's winner measured; None where there are none, or without a number yet."""
    known = comparison.confirmed
    found = next((arm for arm in main.arms if known is not None and arm.arm == known.arm), None)
    if known is None or found is None or found.mean is None:
        return None
    sure = f" (95 % interval {brief(found.low)} to {brief(found.high)})" if found.low is not None else ""
    chosen = f"it was chosen from {known.candidates} arms by {known.by}"
    text = (
        f"{known.arm} scores {brief(found.mean)}{sure} on {main.name}, over {len(found.seeds)} fresh seeds; {chosen}."
    )
    difference = next((one for one in main.differences if one.arm == known.arm and one.value is not None), None)
    lines = [] if difference is None else [f"Against {_base(difference)}: {_sure(difference)}, {difference.verdict}."]
    return {"text": text, "lines": lines if known.held_out else [_sentence(f"it was chosen {SAME_EXAMPLES}"), *lines]}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _won(best: Difference, main: EvaluationComparison) -> str:
    means = {arm.arm: arm.mean for arm in main.arms}
    against = means.get(best.baseline)
    there = f" against {brief(against)}" if against is not None else ""
    scored = f"{brief(means[best.arm])}{there}, " if means.get(best.arm) is not None else ""
    return f"{best.arm} is {best.verdict} than {_base(best)} on {main.name}: {scored}{_sure(best)}."


def _sure(one: Difference) -> str:
    parts = [plus(one.value)]
    if one.low is not None:
        parts.append(f"95 % interval {plus(one.low)} to {plus(one.high)}")
    if one.p_holm is not None:
        parts.append(f"p {'' if one.p_holm < 0.001 else '= '}{pvalue(one.p_holm)}")
    return f"{parts[0]} ({', '.join(parts[1:])})" if parts[1:] else parts[0]


def _numbers(one: Difference) -> str:
    return f"{one.arm}: {_sure(one)}"


def _settle(one: Difference) -> list[str]:
    return [_sentence(one.settle)] if one.settle else []


def _tally(other: EvaluationComparison) -> list[str]:
    verdicts = Counter(one.verdict for one in other.differences if one.value is not None)
    counted = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    return [f"On {other.name}: {counted}."] if counted else []


def _reasons(comparison: Comparison, main: EvaluationComparison | None) -> list[str]:
    refused = [f"{one.arm}: {'; '.join(one.reasons)}" for one in (main.refused if main is not None else [])]
    return (refused or comparison.notes)[:MOST_LINES]


def _base(one: Difference) -> str:
    return "its own start" if one.baseline == "before" else one.baseline


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return "; ".join(names[:4]) + more


def _change(one: Change) -> str:
    numbers = f"{plus(one.change)} (95 % interval {plus(one.low)} to {plus(one.high)})"
    if not one.change and one.low == one.high:
        return f"{_name(one)} did not change: every example scores as before."
    if not one.separable:
        return f"{_name(one)} did not change separably: {numbers}."
    there = "" if one.before is None else f" from {brief(one.before)} to {brief(one.after)}"
    return f"{_name(one)} {'rose' if (one.change or 0) > 0 else 'fell'}{there}: {numbers}."


def _name(one: Change) -> str:
    name = one.number if one.evaluation == one.number else f"{one.evaluation} {one.number}"
    return name[:1].upper() + name[1:]
