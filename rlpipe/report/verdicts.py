"""What a difference means, in words: better, worse, or not separable, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rlpipe.report.comparison import BETTER, HIGHER, LOWER, NOT_SEPARABLE, WORSE, Difference
from rlpipe.report.differences import Contrast
from rlpipe.statistics.power import MOST_EXAMPLES, MOST_SEEDS, Settling, holm, settling

LEVEL = 0.05


def judged(baseline: str, arms: Sequence[str], contrasts: Sequence[Contrast], good: bool) -> list[Difference]:
    """Judge all differences from a baseline together, corrected for their number.

    `good`: a higher number is better, as scores are; of others it is only said that they are higher or lower.
    """
    corrected = holm([one.p for one in contrasts])
    tests = max(sum(not math.isnan(p) for p in corrected), 1)
    return [
        _difference(arm, baseline, one, p, tests, good) for arm, one, p in zip(arms, contrasts, corrected, strict=True)
    ]


def _difference(arm: str, baseline: str, found: Contrast, p: float, tests: int, good: bool) -> Difference:
    difference = Difference(
        arm=arm,
        baseline=baseline,
        value=found.value,
        low=found.low,
        high=found.high,
        p=_or_none(found.p),
        p_holm=_or_none(p),
        examples=found.examples,
        seeds=found.seeds,
        paired=found.paired,
        verdict=_verdict(found, p, good),
        words="",
        more_examples=None,
        more_seeds=None,
        together=False,
        settle="",
    )
    difference = replace(difference, words=_words(difference, found, tests))
    if difference.verdict != NOT_SEPARABLE or found.value is None or found.variances is None or math.isnan(found.p):
        return difference
    needed = settling(found.value, found.variances, LEVEL / tests)
    settle = _settle(difference, needed)
    return replace(
        difference,
        more_examples=needed.examples,
        more_seeds=needed.seeds,
        together=needed.together,
        settle=settle,
    )


def _or_none(p: float) -> float | None:
    return None if math.isnan(p) else p


def _verdict(found: Contrast, p: float, good: bool) -> str:
    if math.isnan(p) or p >= LEVEL or found.value is None:
        return NOT_SEPARABLE
    if found.value > 0:
        return BETTER if good else HIGHER
    return WORSE if good else LOWER


def _words(one: Difference, found: Contrast, tests: int) -> str:
    """Say in a sentence what was found."""
    if one.value is None:
        return found.note or "there is nothing to compare"
    against = "its own start" if one.baseline == "before" else one.baseline
    if one.low is None or one.high is None or one.p_holm is None:
        return f"not separable from {against}: {found.note}"
    numbers = f"{one.value:+.3g} ({one.low:+.3g} … {one.high:+.3g}), {p_value_text(one.p_holm)}"
    numbers += f" corrected for {tests} comparisons" if tests > 1 else ""
    note = f"; {found.note}" if found.note else ""
    if one.verdict != NOT_SEPARABLE:
        return f"{one.verdict} than {against}: {numbers}{note}"
    alone = one.p is not None and one.p < LEVEL
    only = "; it would be separable were it the only comparison" if alone else ""
    return f"not separable from {against}: {numbers}{only}{note}"


def p_value_text(p: float) -> str:
    """Return a p-value in words."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def _settle(one: Difference, needed: Settling) -> str:
    """Say how many further examples or seeds would settle a difference of this size, or that none would."""
    ways = []
    if needed.examples is not None:
        ways.append(f"{needed.examples:,} more examples")
    if needed.seeds is not None:
        ways.append(f"{needed.seeds:,} more {'seed' if needed.seeds == 1 else 'seeds'} in each arm")
    if ways:
        ways_text = " with ".join(ways) if needed.together else " or ".join(ways)
        return f"about {ways_text} would settle it (80 % power, were the difference truly {one.value:+.2g})"
    widest = max(abs(one.low or 0.0), abs(one.high or 0.0))
    if one.seeds == 1:
        tried = f"not even {MOST_EXAMPLES:,} examples would settle so small a difference"
    else:
        tried = f"neither more examples nor seeds, up to {MOST_SEEDS}, would settle so small a difference"
    return f"{tried}; if there is one, it is probably below {widest:.2g}"
