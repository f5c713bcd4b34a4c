"""The numbers that a run ends with, before and after training, each with the interval of its change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rlpipe.core.terminal import duration, gigabytes, is_number

_ENDS = ("_low", "_high")


@dataclass(frozen=True)
class Change:
    """One number of an evaluation; what was not measured is None."""

    evaluation: str
    number: str
    before: float | None
    after: float | None
    change: float | None
    low: float | None = None
    """The ends of the change's 95 % interval."""
    high: float | None = None

    @property
    def separable(self) -> bool:
        """Whether the change's interval excludes no change."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def changes(metrics: Mapping[str, Any]) -> Iterator[Change]:
    """Yield each number that stands in metrics under `before/<evaluation>/<number>` or `after/…`.

    `change/<evaluation>/score` with `low` and `high` goes with the number whose change it is; where none of them is
    the mean score, it is a number of its own. The ends of a measurement's own interval are left out: that of the
    change is better, for it is paired.
    """
    names = dict.fromkeys(key.partition("/")[2] for key in metrics if key.startswith(("before/", "after/")))
    scores = {one.evaluation: one for one in _scores(metrics)}
    for name in names:
        evaluation, _, number = name.rpartition("/")
        if number.endswith(_ENDS):
            continue
        before, after = _number(metrics, f"before/{name}"), _number(metrics, f"after/{name}")
        one = Change(evaluation, number, before, after, None if before is None or after is None else after - before)
        score = scores.get(evaluation)
        if score is not None and _same(one.change, score.change):
            one = replace(one, low=score.low, high=score.high)
            del scores[evaluation]
        yield one
    yield from scores.values()


def _scores(metrics: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the mean changes of scores."""
    for key in metrics:
        if key.startswith("change/") and key.endswith("/score"):
            group = key.removesuffix("/score")
            found = (_number(metrics, f"{group}/{end}") for end in ("score", "low", "high"))
            yield Change(group.removeprefix("change/"), "score", None, None, *found)


def _number(metrics: Mapping[str, Any], key: str) -> float | None:
    value = metrics.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _same(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def before_after_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yield (evaluation, number, before, after, change, interval of the change) as shown, one a number."""
    for one in changes(metrics):
        change = "" if one.change is None else f"{one.change:+.4g}"
        yield one.evaluation, one.number, _show(one.before), _show(one.after), change, _interval(one)


def _interval(one: Change) -> str:
    """Return the interval of a change, and say so where it cannot be told from none."""
    if one.low is None or one.high is None:
        return ""
    return f"{one.low:+.3g} … {one.high:+.3g}{'' if one.separable else ': not separable from no change'}"


def cost(cost: Mapping[str, Any], attempts: int = 1) -> str:
    """Return a run's cost in words."""
    parts = [duration(cost["seconds"])] if "seconds" in cost else []
    parts += [f"{cost[name]:,.0f} {name}" for name in ("steps", "tokens", "calls") if is_number(cost.get(name))]
    if is_number(cost.get("peak_memory")):
        parts.append(f"{gigabytes(cost['peak_memory'])} of memory at most")
    if attempts > 1:
        parts.append(f"{attempts} attempts")
    return ", ".join(parts)


def _show(value: Any) -> str:
    return f"{value:.4g}" if is_number(value) else "" if value is None else str(value)
