"""Comparing arms: every evaluation that the runs have in common, against one baseline.

found = compare(find(["multirun/2025-01-31/10-00-00"]), baseline="dpo")
print(found.evaluations[0].differences[0].words)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlpipe.core.errors import RlpipeError, guess
from rlpipe.core.progress import Counting
from rlpipe.core.terminal import is_number
from rlpipe.records.attempts import added
from rlpipe.records.runs import Run, Standing
from rlpipe.report import selection
from rlpipe.report.arms import Arm, group
from rlpipe.report.comparison import (
    BEFORE,
    ArmSummary,
    Comparison,
    EvaluationComparison,
    Refusal,
    RunSummary,
    SeedMean,
)
from rlpipe.report.differences import NOTHING, arm_mean, arm_numbers, contrast, contrast_numbers
from rlpipe.report.notes import notes
from rlpipe.report.pairing import Measured, fields, measured, reasons
from rlpipe.report.verdicts import judged

SCORE = "score"
"""The rows' field that is compared when nothing else is said: of scores a higher one is better."""


def compare(
    runs: Sequence[Run],
    evaluation: str | None = None,
    score: str | None = None,
    baseline: str | None = None,
    arms: Sequence[Arm] | None = None,
) -> Comparison:
    """Compare the arms of runs.

    `evaluation` names one (None: all whose rows have the field). `score` is a field of its rows (`score`, `pass.8`),
    or with a slash a number of the runs' summaries (`after/preference/margin`), compared over seeds alone.
    `baseline` is an arm's label, or `before` for each arm's own start; None takes the first arm that has finished,
    and the start where there is but one. `arms` are those of `arms.group(runs)`, where they are known already.

    Raises RlpipeError for names that there are not, and for no runs.
    """
    if not runs:
        raise RlpipeError("", "there are no runs to compare", "name folders that hold some")
    arms = group(runs) if arms is None else arms
    base = _baseline(arms, baseline)
    evaluations = []
    if score is not None and "/" in score:
        evaluations.append(_summaries(arms, base, score, evaluation))
    else:
        for name in _names(runs, evaluation):
            found = _evaluation(arms, base, name, score or SCORE)
            if found is not None:
                evaluations.append(found)
        if not evaluations:
            _refuse_field(runs, evaluation, score)
    confirmed = selection.confirmed(arms)
    remarks = [*notes(arms, evaluations), *selection.notes(arms, confirmed)]
    return Comparison(base, [_summary(arm) for arm in arms], evaluations, remarks, confirmed)


def _baseline(arms: Sequence[Arm], requested: str | None) -> str:
    labels = [arm.label for arm in arms]
    if requested is None:
        able = [arm.label for arm in arms if any(run.standing is Standing.ok for run in arm.runs)]
        return BEFORE if len(labels) == 1 else (able or labels)[0]
    if requested not in (*labels, BEFORE):
        raise RlpipeError("baseline", f"no arm is called '{requested}'", guess(requested, [*labels, BEFORE]))
    return requested


def _names(runs: Sequence[Run], requested: str | None) -> list[str]:
    known = dict.fromkeys(name for run in runs for name in run.evaluations)
    if requested is None:
        return list(known)
    if requested not in known and any(run.standing is Standing.ok for run in runs):
        raise RlpipeError("evaluation", f"no run has rows of an evaluation '{requested}'", guess(requested, known))
    return [requested] if requested in known else []


def _refuse_field(runs: Sequence[Run], evaluation: str | None, score: str | None) -> None:
    """Raise RlpipeError where rows are there but lack the field that was asked for; runs may also have none yet."""
    known: dict[str, None] = {}
    for run in runs:
        for name in run.evaluations if evaluation is None else [evaluation]:
            when = run.final(name)
            known |= dict.fromkeys(fields(run.evaluation(name, when)[:20])) if when else {}
    field = score or (SCORE if evaluation is not None else None)
    if known and field is not None and field not in known:
        where = f"evaluation {evaluation}" if evaluation else "no evaluation"
        raise RlpipeError(
            "metric",
            f"{where} has {'no ' if evaluation else ''}numbers under '{field}'",
            f"{guess(field, known)}; or name a number of the runs' results with its slashes (after/…/…)",
        )


# -- example by example


@dataclass
class _Column:
    """One evaluation's rows, read: by arm, after training and before."""

    after: dict[str, list[Measured]]
    before: dict[str, list[Measured]]
    without: list[str]
    """Runs that have rows, but not one finite number in them."""


def _evaluation(arms: Sequence[Arm], base: str, name: str, score: str) -> EvaluationComparison | None:
    """Compare one evaluation, None where no final rows hold the field."""
    column = _read(arms, name, score, with_start=base == BEFORE)
    if not any(column.after.values()):
        return None
    refused: list[Refusal] = []
    ours, theirs = (_agreeing if base == BEFORE else _comparable)(arms, base, column, refused)
    others = [arm.label for arm in arms if arm.label != base and (column.after[arm.label] or base != BEFORE)]
    others = [label for label in others if column.after[label]]
    contrasts = [contrast(ours[label], theirs[label]) if ours[label] else NOTHING for label in others]
    kept = [(label, one) for label, one in zip(others, contrasts, strict=True) if one is not NOTHING]
    differences = judged(base, [label for label, _ in kept], [one for _, one in kept], good=score == SCORE)
    means = [arm_mean(arm.label, _consistent(arm, column, refused)) for arm in arms]
    notes = _unusable(column)
    if base != BEFORE and not column.after[base]:
        notes.insert(0, f"{base}: no result to compare with")
    return EvaluationComparison(name, score, "examples", means, differences, refused, notes)


def _read(arms: Sequence[Arm], name: str, score: str, with_start: bool) -> _Column:
    column = _Column({}, {}, [])
    with Counting(f"reading {name}", sum(len(arm.runs) for arm in arms), unit="run") as progress:
        done = 0
        for arm in arms:
            after, before = column.after.setdefault(arm.label, []), column.before.setdefault(arm.label, [])
            for run in arm.runs:
                when = run.final(name)
                found = measured(run, name, when, score) if when is not None else None
                if found is not None and found.unusable < len(found.scores):
                    after.append(found)
                    start = measured(run, name, "before", score) if with_start and when == "after" else None
                    before += [start] if start is not None else []
                elif found is not None:
                    column.without.append(run.name)
                done += 1
                progress.advance(done)
    return column


def _comparable(
    arms: Sequence[Arm], base: str, column: _Column, refused: list[Refusal]
) -> tuple[Mapping[str, list[Measured]], Mapping[str, list[Measured]]]:
    """Return each arm's runs that may be compared with the baseline's, and the baseline's; others are refused."""
    start = column.after[base]
    ours: dict[str, list[Measured]] = {arm.label: [] for arm in arms}
    if not start:
        return ours, ours
    for arm in arms:
        why: dict[str, list[str]] = {}
        for run in column.after[arm.label]:
            found = reasons(run, start[0])
            ours[arm.label] += [] if found else [run]
            for reason in found:
                why.setdefault(reason, []).append(run.run.name)
        if why:
            names = list(dict.fromkeys(name for those in why.values() for name in those))
            refused.append(Refusal(arm.label, names, list(why)))
    return ours, {arm.label: ours[base] for arm in arms}


def _agreeing(
    arms: Sequence[Arm], base: str, column: _Column, refused: list[Refusal]
) -> tuple[Mapping[str, list[Measured]], Mapping[str, list[Measured]]]:
    """Return each arm's runs with their own starts."""
    ours: dict[str, list[Measured]] = {}
    for arm in arms:
        starts = {run.run.id: run for run in column.before[arm.label]}
        ours[arm.label] = [run for run in column.after[arm.label] if run.run.id in starts]
    return ours, column.before


def _consistent(arm: Arm, column: _Column, refused: list[Refusal]) -> list[Measured]:
    """Return the runs of an arm that measured as its first one did; others are refused, unless they are already."""
    runs = column.after[arm.label]
    kept, names, why = runs[:1], [], []
    for run in runs[1:]:
        found = reasons(run, runs[0]) if runs[0].protocol is not None or run.protocol is not None else []
        if found:
            names.append(run.run.name)
            why += [reason for reason in found if reason not in why]
        else:
            kept.append(run)
    if names and not any(one.arm == arm.label for one in refused):
        refused.append(Refusal(arm.label, names, why))
    return kept


def _unusable(column: _Column) -> list[str]:
    """Say which runs have examples whose number is none: those count nowhere."""
    found = [(run.run.name, run.unusable) for runs in column.after.values() for run in runs if run.unusable]
    notes = [f"{name}: {count} examples without a finite number are left out" for name, count in found]
    return notes + [f"{name}: no example has a finite number" for name in column.without]


# -- over seeds alone


def _summaries(arms: Sequence[Arm], base: str, key: str, evaluation: str | None) -> EvaluationComparison:
    """Compare a number that stands for a whole run."""
    runs = [run for arm in arms for run in arm.runs]
    known = dict.fromkeys(name for run in runs for name in run.summary)
    if key not in known and known:
        raise RlpipeError("metric", f"no run has a number '{key}'", guess(key, known))
    numbers = {arm.label: _numbers(arm, key) for arm in arms}
    theirs = {arm.label: numbers[base] for arm in arms if arm.label != base} if base != BEFORE else {}
    if base == BEFORE and key.startswith("after/"):
        theirs = {arm.label: _numbers(arm, f"before/{key.removeprefix('after/')}") for arm in arms}
    contrasts = {label: contrast_numbers(numbers[label], start) for label, start in theirs.items()}
    kept = [label for label, found in contrasts.items() if found is not NOTHING]
    differences = judged(base, kept, [contrasts[label] for label in kept], good=False)
    means = [arm_numbers(arm.label, numbers[arm.label]) for arm in arms]
    nothing = [run.run for arm in arms for run in numbers[arm.label] if run.mean is None]
    notes = [f"{', '.join(nothing)}: {key} is no finite number, and is left out"] if nothing else []
    return EvaluationComparison(evaluation or key.split("/")[1], key, "seeds", means, differences, [], notes)


def _numbers(arm: Arm, key: str) -> list[SeedMean]:
    found = []
    for run in arm.runs:
        if run.standing is Standing.ok and key in run.summary:
            value = run.summary[key]
            found.append(SeedMean(run.name, run.seed, float(value) if is_number(value) else None, 0, 0))
    return found


# -- what ran


def _summary(arm: Arm) -> ArmSummary:
    runs = [RunSummary(run.name, str(run.dir), run.seed, run.standing.value, run.error, run.cost) for run in arm.runs]
    costs = (
        {name: value for name, value in run.cost.items() if is_number(value)} for run in (*arm.runs, *arm.repeated)
    )
    return ArmSummary(arm.label, runs, added(costs))
