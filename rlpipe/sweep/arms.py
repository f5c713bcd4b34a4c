"""The arms of a sweep, and what can be wrong with them together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from rlpipe.config.resolved import Resolved
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import Problem

if TYPE_CHECKING:
    from rlpipe.stages.fingerprint import Stage


@dataclass
class Arm:
    """One arm, composed and resolved."""

    number: int
    overrides: tuple[str, ...]
    config: DictConfig
    """The task's part, resolved."""
    hydra: DictConfig
    """Hydra's own part, apart: to put a node into a config is to copy it, which takes longer than to compose."""
    run_dir: Path
    run: RunConfig | None = None
    """The typed config; None for another application's task."""
    fields: dict[str, str] = field(default_factory=dict)
    """The fields that the sweep varies, with this arm's values."""
    stages: list[Stage] = field(default_factory=list)
    """The stages that it needs, those that others need first."""
    resolved: Resolved | None = None
    """The plugins of `run`, held here so that check, plan and freezing share them."""


def grouped(found: Sequence[tuple[int, Problem]], count: int) -> list[Problem]:
    """Say each problem once, with the arms that have it; those that all have come without numbers."""
    arms: dict[Problem, list[int]] = {}
    for number, problem in found:
        if number not in arms.setdefault(problem, []):
            arms[problem].append(number)
    return [
        problem
        if len(numbers) == count
        else dataclasses.replace(problem, where=f"{problem.where} ({named(numbers)} of {count})")
        for problem, numbers in arms.items()
    ]


def named(numbers: Sequence[int]) -> str:
    """Return `arm 3` or `arms 0-2, 5`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    texts = [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts]
    return f"{'arm' if len(numbers) == 1 else 'arms'} {', '.join(texts)}"


def shared_folders(arms: Sequence[Arm]) -> list[Problem]:
    """Two arms cannot work in one folder."""
    folders: dict[Path, list[int]] = {}
    for arm in arms:
        folders.setdefault(arm.run_dir, []).append(arm.number)
    fix = "let hydra.sweep.subdir tell them apart (its default is the arm's number), and set no run_dir"
    return [
        Problem(str(folder), f"{named(numbers)} would work in this one folder", fix)
        for folder, numbers in folders.items()
        if len(numbers) > 1
    ]


def same_runs(arms: Sequence[Arm]) -> list[Problem]:
    """The same work twice is a slip of the command line."""
    runs: dict[str, list[int]] = {}
    for arm in arms:
        if arm.run is not None:
            runs.setdefault(repr(dataclasses.replace(arm.run, run_dir=None)), []).append(arm.number)
    fix = "name each value once; to repeat a run, vary its seed"
    return [Problem(named(numbers), "are one and the same run", fix) for numbers in runs.values() if len(numbers) > 1]
