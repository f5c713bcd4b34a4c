"""Several rated completions of one prompt, as in UltraFeedback's original rows (arXiv:2310.01377), as one pair."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

OVERALL = ("fine-grained_score", "overall_score", "rating", "score")
"""What holds a completion's rating where it has none by aspect, in this order."""


def best_and_worst(completions: Any) -> tuple[str, str]:
    """Return the texts of the completions with the highest and with the lowest rating; among equals, the first ones.

    A completion's rating is the mean over its aspects (`annotations`: helpfulness, honesty …), not `overall_score`,
    which holds a 10 for many completions that got a 1. Raises ValueError where fewer than two are rated, or all alike.
    """
    rated = []
    for one in completions if isinstance(completions, list) else []:
        text = (one.get("response") or one.get("text") or one.get("content")) if isinstance(one, dict) else None
        found = rating(one) if isinstance(text, str) and text.strip() else None
        if found is not None:
            rated.append((found, text))
    if len(rated) < 2:
        raise ValueError("fewer than two rated completions")
    best, worst = max(rated, key=lambda one: one[0]), min(rated, key=lambda one: one[0])
    if best[0] == worst[0]:
        raise ValueError("all completions are rated alike")
    return str(best[1]), str(worst[1])


def rating(completion: dict[str, Any]) -> float | None:
    """Return a completion's rating; None where it has none that is a number."""
    found = list(_aspects(completion.get("annotations")))
    if found:
        return math.fsum(found) / len(found)
    return next((number for name in OVERALL if (number := _number(completion.get(name))) is not None), None)


def _aspects(annotations: Any) -> Iterator[float]:
    for aspect in annotations.values() if isinstance(annotations, dict) else ():
        number = _number(aspect.get("Rating") if isinstance(aspect, dict) else None)
        if number is not None:
            yield number


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
