"""The rungs of a sweep that stops hopeless arms: what each arm measured there, in the order in which arms came.

    .launch/rungs/<step>/<n>.json    the n-th report at the rung of that step: arm, setting, value

The file system grants each number to one arm, with the whole report in the file, and no number is left out. An arm is
judged by the reports up to its own, which never change: one that was killed between its report and the decision finds
its report when it comes there again, and decides the same. No arm waits for another, and nobody else decides.
"""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from rlpipe.core.files import create, json_text, read_json
from rlpipe.core.shapes import NUMBER, Shape
from rlpipe.records.sweep import EXTENDED, Sweep
from rlpipe.statistics import halving
from rlpipe.statistics.halving import Verdict

_REPORT: Shape = {"arm": str, "setting": str, "value?": NUMBER}
_FIX = "put it back from a backup; or delete it: the arm's number then counts for nobody who comes later"
_FOLDER = "rungs"
_AGAIN = 0.05
"""Seconds after which a file is looked for again that another process has just made."""


@dataclass(frozen=True)
class Rungs:
    """One arm's view of its sweep's rungs."""

    folder: Path
    arm: str
    setting: str
    """What the seeds of one setting have in common."""
    reduction: int
    """One in so many settings goes on."""
    steps: tuple[int, ...] | None = None
    """Where rungs are; None: at the first measured step, and at each `reduction` times as late."""
    extended: bool = False
    """Whether the arm goes on whatever its verdict is."""

    @classmethod
    def of(cls, sweep: Sweep, key: str) -> Rungs | None:
        """Return the rungs at which a job of a sweep is judged; None for one that is not."""
        settings = sweep.data.get("asha")
        job = next((job for job in sweep.arms if job.key == key), None)
        if settings is None or job is None or job.confirms:
            return None
        steps = None if settings["rungs"] is None else tuple(settings["rungs"])
        extended = (sweep.job_folder(job) / EXTENDED).exists()
        return cls(sweep.folder / ".launch" / _FOLDER, job.key, job.setting, settings["reduction"], steps, extended)

    def at(self, every: int, last: int) -> list[int]:
        """Return the steps of the rungs of an arm that is measured every so many steps, up to a last one."""
        if self.steps is not None:
            return [step for step in self.steps if step < last]
        return halving.rungs(every, self.reduction, last)

    def judge(self, step: int, value: float, more_is_better: bool) -> Verdict:
        """Report what the arm measured at a rung, unless it has already, and return the verdict on it.

        Raises RecordError for reports that cannot be read or written.
        """
        entries: list[tuple[str, float]] = []
        folder = self.folder / str(step)
        report = {"arm": self.arm, "setting": self.setting, "value": value}
        while True:
            file = folder / f"{len(entries) + 1}.json"
            row = read_json(file, _FIX, _REPORT)
            if row is None:
                if not create(file, json_text(report)):
                    time.sleep(_AGAIN)
                continue
            entries.append((row["setting"], math.nan if row.get("value") is None else float(row["value"])))
            if row["arm"] == self.arm:
                return halving.judge(entries, self.reduction, more_is_better)


def measured(sweep: Sweep, setting: str) -> dict[int, float]:
    """Return what the arms of a setting have reported at rungs, by steps: the mean of its seeds.

    Raises RecordError for reports that cannot be read.
    """
    values: dict[int, list[float]] = {}
    for file in sorted((sweep.folder / ".launch" / _FOLDER).glob("*/[0-9]*.json")):
        row = read_json(file, _FIX, _REPORT)
        if row is not None and row["setting"] == setting and row.get("value") is not None:
            values.setdefault(int(file.parent.name), []).append(float(row["value"]))
    return {step: sum(found) / len(found) for step, found in sorted(values.items())}


def describe(verdict: Verdict, step: int, metric: str, value: float) -> str:
    """Say how an arm stands at a rung."""
    placed = f"place {verdict.place} of {verdict.of} by {metric} ({value:.4g} at step {step})"
    return f"{placed}, where the best {verdict.best} go on"


current: ContextVar[Rungs | None] = ContextVar("current", default=None)
"""The rungs at which the run of this process is judged; None where it is not."""
