"""What a sweep's fields do to its results, as data for `effects.js`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlpipe.core.files import Row
from rlpipe.core.terminal import is_number
from rlpipe.records.runs import Run
from rlpipe.report.labels import value_text
from rlpipe.report.page.configs import varied

MOST_FIELDS = 6
MOST_VALUES = 20
"""More values than this of one field make no readable plot."""


def effects(arms: Sequence[Sequence[Run]], settings: Sequence[Row], outcomes: Sequence[str]) -> Row | None:
    """Return `{fields: [{name, values}], arms, outcomes: [{name, values}]}`; None where nothing was swept.

    Arms are given by their runs and by their settings as dotted keys. For each arm `arms` holds the places of its
    values (None for an arm of which they are not known), and an outcome's `values` one number a seed. Fields that
    change in step with another one (a method's own defaults) are left out for it.
    """
    fields: list[Row] = []
    places: list[list[int]] = []
    for name, values in varied(settings).items():
        texts = _ordered([value for value, setting in zip(values, settings, strict=True) if setting])
        taken = [
            texts.index(value_text(value)) if setting else -1 for value, setting in zip(values, settings, strict=True)
        ]
        if len(texts) <= MOST_VALUES and len(fields) < MOST_FIELDS and not any(_same(taken, old) for old in places):
            fields.append({"name": name, "values": texts})
            places.append(taken)
    found = [{"name": name, "values": [_numbers(runs, name) for runs in arms]} for name in outcomes]
    found = [one for one in found if sum(map(bool, one["values"])) > 1]
    if not fields or not found:
        return None
    coded = [list(row) if -1 not in row else None for row in zip(*places, strict=True)]
    return {"fields": fields, "arms": coded, "outcomes": found}


def outcome_names(runs: Sequence[Run], first: Sequence[str] = ()) -> list[str]:
    """Return the summary numbers that can be compared: those given first, then what stands after training."""
    named = dict.fromkeys(name for run in runs for name, value in run.summary.items() if is_number(value))
    after = [name for name in named if name.startswith("after/") and not name.endswith(("_low", "_high"))]
    change = [name for name in named if name.startswith("change/") and name.endswith("/score")]
    rest = after + change or [name for name in named if not name.endswith(("_low", "_high"))]
    return list(dict.fromkeys([name for name in first if name in named] + rest))


def _numbers(runs: Sequence[Run], name: str) -> list[float]:
    values = [run.summary.get(name) for run in runs]
    return [float(f"{value:.6g}") for value in values if is_number(value)]


def _ordered(values: Sequence[Any]) -> list[str]:
    """Return the different values as text, numbers by their size."""
    different = {value_text(value): value for value in values}
    numeric = all(is_number(value) for value in different.values())
    return sorted(different, key=different.__getitem__) if numeric else list(different)


def _same(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two fields divide the arms alike: then one of them tells all."""
    pairs = set(zip(one, other, strict=True))
    return len(pairs) == len(set(one)) == len(set(other))
