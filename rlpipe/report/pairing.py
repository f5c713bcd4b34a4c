"""Laying the same examples of several runs side by side, and refusing to where they are not the same.

Scores of an example may be compared when the runs measured it alike: the same prompt, template,
verifier, sampling. Each run notes all of that as the evaluation's protocol; what differs is named. The tools that a run
may call belong to what is compared, as its weights do: whether a calculator helps is a fair question.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlpipe.config.relevance import flat
from rlpipe.core.files import Row
from rlpipe.core.terminal import is_number
from rlpipe.records.record import When
from rlpipe.records.runs import Run

Array = NDArray[np.float64]

MOST_REASONS = 4
"""Differences of two protocols that are named; of more, the number is said."""


@dataclass(frozen=True)
class Measured:
    """One run's numbers of one evaluation, by example."""

    run: Run
    scores: dict[str, float]
    """By the example's id; NaN where there is no finite number."""
    prompts: dict[str, int] = field(repr=False)
    """A hash of the prompt, by id; empty where rows hold none."""
    protocol: Row | None = field(repr=False)

    @property
    def mean(self) -> float:
        """The mean of the finite scores; NaN without any."""
        finite = [score for score in self.scores.values() if math.isfinite(score)]
        return sum(finite) / len(finite) if finite else math.nan

    @property
    def unusable(self) -> int:
        """How many examples have no finite score."""
        return sum(not math.isfinite(score) for score in self.scores.values())


def measured(run: Run, evaluation: str, when: When, key: str = "score") -> Measured | None:
    """Read the numbers that an evaluation's rows hold under a dotted key (`score`, `pass.8`).

    None where no row has it.
    """
    scores: dict[str, float] = {}
    prompts: dict[str, int] = {}
    found = False
    for row in run.evaluation(evaluation, when):
        there, value = _look(row, key)
        found = found or there
        name = _free(str(row.get("id", len(scores))), scores)
        scores[name] = float(value) if is_number(value) or isinstance(value, bool) else math.nan
        if math.isinf(scores[name]):
            scores[name] = math.nan
        prompt = row.get("prompt")
        if prompt is not None:
            prompts[name] = hash(prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True))
    return Measured(run, scores, prompts, run.protocol(evaluation)) if found else None


def fields(rows: Iterable[Row]) -> list[str]:
    """Return the dotted keys under which rows hold numbers."""
    keys: dict[str, None] = {}
    for row in rows:
        keys |= dict.fromkeys(key for key, value in flat(row).items() if is_number(value) or isinstance(value, bool))
    return list(keys)


def _look(row: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    """Return whether a row has a dotted key, and what stands there (null for what was no number)."""
    if key in row:
        return True, row[key]
    value: Any = row
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False, None
        value = value[name]
    return True, value


def _free(name: str, taken: Mapping[str, float]) -> str:
    """Return an id for a row; one that has been there already is the example's second time, and so on."""
    if name not in taken:
        return name
    time = 2
    while f"{name} ({time})" in taken:
        time += 1
    return f"{name} ({time})"


def reasons(one: Measured, other: Measured) -> list[str]:
    """Return why two runs' scores must not be compared example by example; nothing where they may."""
    if one.protocol is None or other.protocol is None:
        silent = " and ".join(run.run.name for run in (one, other) if run.protocol is None)
        return [f"{silent}: does not say how it measured (no protocol beside the evaluation's rows)"]
    found = _protocols(one.protocol, other.protocol)
    differing = []
    if one.prompts != other.prompts:
        differing = [name for name, prompt in one.prompts.items() if other.prompts.get(name, prompt) != prompt]
    if differing:
        more = f" and of {len(differing) - 1} more" if len(differing) > 1 else ""
        found.append(f"prompts: that of example {differing[0]}{more} differs")
    if not found and not one.scores.keys() & other.scores.keys():
        found.append(f"no common examples: {_some(one.scores)} against {_some(other.scores)}")
    return found


def _protocols(one: Row, other: Row) -> list[str]:
    before, after = (flat({key: value for key, value in row.items() if key != "tool"}) for row in (one, other))
    keys = [key for key in before | after if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
    reasons = [f"{key}: {_short(before, key)} against {_short(after, key)}" for key in keys[:MOST_REASONS]]
    return reasons + ([f"and {len(keys) - MOST_REASONS} more settings"] if len(keys) > MOST_REASONS else [])


_ABSENT = object()


def _short(settings: Row, key: str) -> str:
    if key not in settings:
        return "(nothing)"
    text = json.dumps(settings[key], ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _some(scores: Mapping[str, float]) -> str:
    names = list(scores)
    return f"{', '.join(names[:2])}{' …' if len(names) > 2 else ''}" if names else "none"


def matrix(runs: Sequence[Measured]) -> tuple[list[str], Array]:
    """Return the examples that all runs have finite scores of, and the scores [runs, examples]."""
    common = list(runs[0].scores)
    if any(list(one.scores) != common for one in runs[1:]):
        common = [name for name in common if all(name in one.scores for one in runs)]
    scores = np.array([[one.scores[name] for name in common] for one in runs], dtype=float).reshape(len(runs), -1)
    finite = np.isfinite(scores).all(0)
    return [name for name, whole in zip(common, finite, strict=True) if whole], scores[:, finite]
