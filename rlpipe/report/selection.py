"""What is to be said where the best of several arms is taken: of how many, and whether it was confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlpipe.records.runs import Standing
from rlpipe.records.sweep import Sweep, setting_of
from rlpipe.report.arms import Arm
from rlpipe.report.comparison import Confirmed

_FEW = 3
"""Arms from which on the best of them is taken to be what a sweep was for."""
CHOSEN = "whoever takes the best of these"
"""What the note on a number that nobody has confirmed begins with."""
SAME_EXAMPLES = "on the examples that it is measured on: their share of luck is still in its number"


def confirmed(arms: Sequence[Arm]) -> Confirmed | None:
    """Return the arm that measured a sweep's winner again; None where there is none, or several sweeps are compared."""
    fresh = [arm for arm in arms if any(run.confirms for run in arm.runs)]
    sweeps = {run.sweep for arm in arms for run in arm.runs}
    [folder, *others] = sweeps
    if not fresh or folder is None or others:
        return None
    said = Sweep.load(folder).confirmation
    for arm in fresh:
        if said is not None and setting_of(arm.runs[0].overrides) == said.setting:
            return Confirmed(arm.label, said.candidates, said.by, said.held_out)
    return None


def notes(arms: Sequence[Arm], known: Confirmed | None) -> list[str]:
    """Say which numbers of a sweep flatter: those of seeds that others were pruned beside, and the best one of all."""
    return [*_survivors(arms), *_chosen(arms, known)]


def _survivors(arms: Sequence[Arm]) -> Iterator[str]:
    for arm in arms:
        pruned = sum(run.standing is Standing.pruned for run in arm.runs)
        if pruned and any(run.standing is Standing.ok for run in arm.runs):
            yield f"{arm.label}: {pruned} of {len(arm.runs)} seeds were pruned, and the others are its luckier ones"


def _chosen(arms: Sequence[Arm], known: Confirmed | None) -> list[str]:
    if known is not None:
        what = f"{known.arm}: fresh seeds of the arm that was chosen from {known.candidates} by {known.by}"
        return [what if known.held_out else f"{what}, {SAME_EXAMPLES}"]
    folders = {run.sweep for arm in arms for run in arm.runs}
    done = [arm for arm in arms if any(run.standing is Standing.ok for run in arm.runs)]
    if len(folders) > 1 or None in folders or len(arms) < _FEW or len(done) < 2:
        return []
    luck = f"{CHOSEN} {len(arms)} arms takes its luck too: its number is selected, and so flatters it"
    return [f"{luck}; measure it again on fresh seeds: rlpipe sweep {next(iter(folders))} confirm"]
