"""What is to be said where the best of several arms is taken: of how many, and whether it was confirmed."""

from __future__ import annotations

from collections.abc import Sequence

from rlpipe.records.runs import Standing
from rlpipe.records.sweep import Sweep
from rlpipe.report.arms import Arm
from rlpipe.report.comparison import Confirmed

_FEW = 3
"""Arms from which on the best of them is taken to be what a sweep was for."""


def confirmed(arms: Sequence[Arm]) -> Confirmed | None:
    """Return the arm that measured a sweep's winner again; None where there is none, or several sweeps are compared."""
    fresh = [arm for arm in arms if any(run.confirms for run in arm.runs)]
    sweeps = {run.sweep for arm in arms for run in arm.runs}
    [folder, *others] = sweeps
    if not fresh or folder is None or others:
        return None
    sweep = Sweep.load(folder)
    said = sweep.confirmation
    jobs = {job.run_dir: job for job in sweep.arms}
    for arm in fresh:
        job = jobs.get(str(arm.runs[0].dir))
        if said is not None and job is not None and job.setting == said.setting:
            return Confirmed(arm.label, said.candidates, said.by, said.held_out)
    return None


def notes(arms: Sequence[Arm], known: Confirmed | None) -> list[str]:
    """Say that the best number of a sweep is a chosen one, where it was not confirmed, or not by other examples."""
    if known is not None:
        what = f"{known.arm}: fresh seeds of the arm that was chosen from {known.candidates} by {known.by}"
        return [what if known.held_out else f"{what}, {SAME_EXAMPLES}"]
    folders = {run.sweep for arm in arms for run in arm.runs}
    done = [arm for arm in arms if any(run.standing is Standing.ok for run in arm.runs)]
    if len(folders) > 1 or None in folders or len(arms) < _FEW or len(done) < 2:
        return []
    return [unconfirmed(len(arms), str(next(iter(folders))))]


CHOSEN = "whoever takes the best of these"
SAME_EXAMPLES = "on the examples that it is measured on: their share of luck is still in its number"


def unconfirmed(count: int, folder: str) -> str:
    """Say that the best of so many arms was not measured again."""
    return (
        f"{CHOSEN} {count} arms takes its luck too: its number is selected, and so flatters it; "
        f"measure it again on fresh seeds: rlpipe sweep {folder} confirm"
    )
