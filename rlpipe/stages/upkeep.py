"""Looking after the store: checking content, moving damaged stages aside, deleting what nobody uses."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlpipe.core.files import explained
from rlpipe.core.progress import Counting
from rlpipe.records.lease import Taken, held
from rlpipe.stages.stored import State, Stored, parents
from rlpipe.stages.users import users

ASIDE = ".damaged"
"""Where in the store damaged stages are moved."""


def damaged(stages: Sequence[Stored]) -> dict[str, str]:
    """Read every finished stage's files; return what is wrong, by stage."""
    found = {}
    with Counting("checking", len(stages), unit="stage") as progress:
        for number, stage in enumerate(stages, 1):
            if stage.state() is State.damaged:
                found[stage.name] = stage.damage() or "changed while it was looked at"
            progress.advance(number)
    return found


def move_aside(stage: Stored) -> Path:
    """Move a damaged stage out of the way, so that it is built anew; returns where to. Raises Taken, RecordError."""
    with held(stage.folder, "moving it aside"):
        return put_aside(stage)


def put_aside(stage: Stored) -> Path:
    """Do so with the right to the stage's folder; returns where to. Raises RecordError."""
    aside = stage.folder.parent / ASIDE / f"{stage.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    with explained(aside, "move a stage to"):
        aside.parent.mkdir(exist_ok=True)
        stage.folder.rename(aside)
    return aside


@dataclass
class Pruning:
    """What may be deleted, and why the rest stays."""

    delete: list[Stored]
    """Those that were made from others first."""
    kept: dict[str, str]
    """Reasons, by the names of stages that are old or big enough and stay all the same."""


def choose(stages: Sequence[Stored], older_than: float | None, larger_than: float | None) -> Pruning:
    """Choose what to delete: what was not used for `older_than` seconds, then the longest unused until the store is no
    `larger_than` so many bytes. What is used, and what a stage that stays was made from, stays.
    """
    going: dict[str, Stored] = {}
    by_use = sorted(stages, key=lambda stage: stage.last_use)
    now, size = time.time(), sum(stage.size for stage in stages)
    old = [stage for stage in by_use if older_than is not None and now - stage.last_use >= older_than]

    def next_to_go(among: Sequence[Stored]) -> Stored | None:
        left = [stage for stage in among if stage.name not in going]
        return next((stage for stage in left if _stays(stage, stages, going) is None), None)

    while stage := next_to_go(old):
        going[stage.name] = stage
    size -= sum(stage.size for stage in going.values())
    while larger_than is not None and size > larger_than and (stage := next_to_go(by_use)):
        going[stage.name] = stage
        size -= stage.size
    wanted = by_use if larger_than is not None and size > larger_than else old
    kept = {stage.name: str(_stays(stage, stages, going)) for stage in wanted if stage.name not in going}
    return Pruning(list(going.values()), kept)


def _stays(stage: Stored, stages: Sequence[Stored], going: Mapping[str, Stored]) -> str | None:
    """Return why a stage must stay, when those in `going` go."""
    if stage.state(content=False) is State.building:
        return f"it is being built by {stage.builder}"
    if using := users(stage.folder):
        return f"it is used by {'; '.join(using)}"
    children = [one.name for one in stages if stage.name in parents(one) and one.name not in going]
    return f"{', '.join(children)} was made from it" if children else None


def delete(stage: Stored) -> str | None:
    """Delete a stage; returns why it stays, where somebody began to use it meanwhile. Raises RecordError."""
    try:
        with held(stage.folder, "pruning it"):
            using = users(stage.folder)
            if using:
                return f"it is used by {'; '.join(using)}"
            gone = stage.folder.with_name(f".pruned-{stage.name}")
            with explained(stage.folder, "delete"):
                shutil.rmtree(gone, ignore_errors=True)
                stage.folder.rename(gone)  # in one step: a kill leaves no half of a stage
    except Taken as taken:
        return f"{taken.owner} is {taken.owner.doing}"
    with explained(gone, "delete"):
        shutil.rmtree(gone)
    return None
