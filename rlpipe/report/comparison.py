"""What a comparison says: plain data, made by `compare`, read by tables and pages."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

BETTER, WORSE, HIGHER, LOWER = "better", "worse", "higher", "lower"
NOT_SEPARABLE = "not separable"

BEFORE = "before"
"""The baseline that stands for each arm's own start: the same examples, before training."""


@dataclass(frozen=True)
class RunSummary:
    """One run of an arm."""

    name: str
    dir: str
    seed: int | None
    standing: str
    """`ok`, `failed`, `stopped`, `pruned`, `running`, `killed`, `missing` or `damaged`."""
    error: str | None
    cost: dict[str, float]
    """`seconds`, and `steps`, `tokens`, `gpu_hours`, `peak_memory` (bytes, the most of all) where they are known."""


@dataclass(frozen=True)
class ArmSummary:
    """An arm: the runs that differ in their seed alone."""

    label: str
    runs: list[RunSummary]
    cost: dict[str, float]
    """Of all its runs together, the failed ones too."""

    @property
    def absent(self) -> list[RunSummary]:
        """The runs that have no result (yet)."""
        return [run for run in self.runs if run.standing != "ok"]


@dataclass(frozen=True)
class SeedMean:
    """One run's mean."""

    run: str
    seed: int | None
    mean: float | None
    examples: int
    unusable: int
    """Examples whose number is none (NaN): they count nowhere."""


@dataclass(frozen=True)
class ArmMean:
    """An arm's mean over seeds and examples, with the interval that covers the truth in 95 % of all such studies."""

    arm: str
    mean: float | None
    low: float | None
    high: float | None
    examples: int
    """Examples that all its seeds have numbers of; 0 where numbers stand for whole runs."""
    seeds: list[SeedMean]
    note: str
    """What the interval leaves out, or why there is none; empty where there is nothing to say."""


@dataclass(frozen=True)
class Difference:
    """An arm less the baseline, on the same examples and, where both have them, the same seeds."""

    arm: str
    baseline: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    """Corrected for all differences of the same evaluation (Holm)."""
    examples: int
    seeds: int
    """Seeds that both arms have, or the fewer of theirs where they share none."""
    paired: str
    """What was paired: `seeds and examples`, `examples`, `seeds` or nothing."""
    verdict: str
    words: str
    """The verdict as a sentence, with what it holds for."""
    more_examples: int | None
    more_seeds: int | None
    """Further seeds in each arm: so many, or so many examples, would settle it; both, where they do so `together`."""
    together: bool
    settle: str
    """What would settle it, where it is not separable; else empty."""


@dataclass(frozen=True)
class Refusal:
    """Runs that were not compared with the baseline, and why."""

    arm: str
    runs: list[str]
    reasons: list[str]


@dataclass(frozen=True)
class EvaluationComparison:
    """All arms by one number."""

    name: str
    score: str
    """The rows' field, or the summary metric, that was compared."""
    kind: str
    """`examples` where rows were paired, `seeds` where each run has but one number."""
    arms: list[ArmMean]
    differences: list[Difference]
    refused: list[Refusal]
    notes: list[str]


@dataclass(frozen=True)
class Confirmed:
    """The arm that holds the fresh seeds of a sweep's winner, and how that had been chosen."""

    arm: str
    candidates: int
    """The arms that it was chosen from."""
    by: str
    """The number that chose it, in words."""
    held_out: bool
    """Whether that number stands for other examples than those that are compared."""


@dataclass(frozen=True)
class Comparison:
    """All that was compared."""

    baseline: str | None
    arms: list[ArmSummary]
    evaluations: list[EvaluationComparison]
    notes: list[str]
    confirmed: Confirmed | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return it in JSON's types; what is no number is None."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
