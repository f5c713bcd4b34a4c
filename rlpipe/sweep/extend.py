"""Extending a sweep: further values of a field, the same study otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rlpipe.config.compose import to_plain
from rlpipe.config.overrides import as_typed, key_of
from rlpipe.core.errors import LaunchError
from rlpipe.core.terminal import say
from rlpipe.records import provenance
from rlpipe.records.driving import SEARCH
from rlpipe.records.sweep import Job, Sweep
from rlpipe.sweep import code, pickles
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.rehearse import Rehearsal
from rlpipe.sweep.study import LEARNS_NOTHING

OURS = ("rlpipe.cli.run", "task")


@dataclass
class Extension:
    """A sweep that is being extended, and the jobs that have come of it."""

    sweep: Sweep
    confirms: bool = False
    """Whether the jobs measure the winning setting again."""
    fresh: list[Job] = field(default_factory=list)
    searches: bool = False
    """Whether it is a search that goes on, which draws the arms itself."""
    pruned: bool = False
    """Whether pruned arms go on too, before the search does."""
    hydras: Sequence[str] = ()
    """Settings of Hydra's that take the place of the study's own."""

    def missing(self, batch: Sequence[Sequence[str]]) -> tuple[list[Sequence[str]], int]:
        """Return the arms of a batch that the sweep lacks, and the number that the first of them gets."""
        there = {frozenset(arm.overrides) for arm in self.sweep.arms}
        missing = [overrides for overrides in batch if frozenset(as_typed(overrides)) not in there]
        return missing, max((int(arm.key) + 1 for arm in self.sweep.arms), default=0)

    def unlike(self, rehearsal: Rehearsal) -> Rehearsal:
        """Leave out the arms that are the same run as one of the sweep, said in other words."""
        there = [_without_place(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in self._configs()]
        arms = [arm for arm in rehearsal.arms if _plain(arm) not in there]
        return Rehearsal(arms, rehearsal.notes)

    def _configs(self) -> list[Path]:
        files = [self.sweep.frozen_config(arm) for arm in self.sweep.arms]
        return [file for file in files if file.exists()]


extending: ContextVar[Extension | None] = ContextVar("extending", default=None)
"""The sweep that the launcher adds to, instead of beginning one."""


def extend(
    sweep: Sweep, overrides: Sequence[str], command: Callable[[Sequence[str]], object], confirms: bool = False
) -> list[Job]:
    """Add the arms that the study has with other values of some fields; return the jobs that were handed over.

    The arms are the study's grid with those values in the place of the field's own, less those that are there.
    They are rehearsed like any other, from the options as they are now, by `command`: the command line as a function.
    With `confirms` they are seeds of one setting, whatever the sweeper was that found it.
    Raises LaunchError for a sweep that is no grid of rlpipe's runs, and what rehearsing raises.
    """
    _refuse_other(sweep, confirms)
    given = {key_of(override) for override in overrides}
    study = () if confirms else sweep.data["overrides"]  # a setting that won is whole
    kept = [one for one in study if key_of(one) not in given]
    extension = Extension(sweep, confirms)
    again(extension, [*kept, *overrides], command)
    return extension.fresh


def again(extension: Extension, overrides: Sequence[str], command: Callable[[Sequence[str]], object]) -> None:
    """Give a sweep's command again, with these overrides of its arms, so that it goes on in its folder.

    Raises LaunchError for secrets that its folder does not keep, and what the command raises.
    """
    sweep = extension.sweep
    change = code.changed(sweep.data["code"], code.state(Path(sweep.data["cwd"])))
    if change:
        say(f"note: {change}")
    hidden = [key_of(one) for one in overrides if provenance.HIDDEN in one]
    if hidden:
        raise LaunchError(
            ", ".join(hidden),
            "a secret, which the sweep's folder does not keep",
            f"give it again: add … {' '.join(f'{key}=VALUE' for key in hidden)}"
            if not extension.searches
            else "single arms can be run again by their numbers (resume JOB …), but nothing more can be drawn",
        )
    given = {"hydra.sweep.dir", "hydra.mode", *map(key_of, extension.hydras)}
    hydras = [one for one in sweep.data["hydra_overrides"] if key_of(one) not in given]
    if extension.confirms:
        hydras = [one for one in hydras if not key_of(one).startswith(("hydra/sweeper", "hydra.sweeper"))]
    token = extending.set(extension)
    try:
        place = f"hydra.sweep.dir='{sweep.folder}'"
        command([*sweep.data["flags"], "-m", *overrides, *hydras, *extension.hydras, place])
    finally:
        extending.reset(token)


def _refuse_other(sweep: Sweep, confirms: bool) -> None:
    module, _, name = sweep.data["task"].partition(":")
    if (pickles.current(module, name), name) != OURS:
        raise LaunchError(
            sweep.folder,
            f"runs {sweep.data['task']}, and only rlpipe's own runs can be added to",
            "give its own command again",
        )
    if not confirms and sweep.data["sweeper"] not in LEARNS_NOTHING:
        name = sweep.data["sweeper"].rpartition(".")[2]
        raise LaunchError(
            sweep.folder,
            f"{name} chooses its arms itself; values are added to grids",
            f"let it try more settings: rlpipe sweep {sweep.folder} resume --trials N"
            if sweep.data["sweeper"] == SEARCH
            else "give the command again, in another folder",
        )


def _plain(arm: Arm) -> dict[str, Any]:
    assert arm.run is not None
    return _without_place(provenance.plain(to_plain(arm.run)))


def _without_place(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("run_dir", "store")}
