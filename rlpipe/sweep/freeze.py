"""Writing a rehearsed batch down: each job's work with everything resolved, so that nothing is composed again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from omegaconf import DictConfig, flag_override

from rlpipe.config import compose
from rlpipe.config.compose import to_plain
from rlpipe.config.relevance import settings
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Changes, statement
from rlpipe.core.files import write_atomic
from rlpipe.records import provenance
from rlpipe.records.sweep import Job, Kind, Sweep
from rlpipe.run.check.subject import Subject
from rlpipe.stages.users import reserve
from rlpipe.sweep import job as jobs
from rlpipe.sweep import pickles
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.estimate import steps
from rlpipe.sweep.rehearse import App, Rehearsal

if TYPE_CHECKING:
    from rlpipe.stages.fingerprint import Stage

Compositions = dict[tuple[str, ...], DictConfig]
"""What lists of overrides compose to, for the runs that a run needs."""


@dataclass
class ArmWork:
    """What an arm does: Hydra's `run_job` with a resolved config."""

    app: Path
    """The file of what all arms share."""
    config: DictConfig
    hydra: DictConfig

    def __call__(self) -> JobReturn:
        """Run the task. The job's id is the launcher's, where it gives one."""
        shared = _load(self.app)
        with flag_override(self.config, ["struct", "readonly"], False):
            self.config.hydra = self.hydra
        self.config.hydra.job.id = jobs.current_job_id() or self.hydra.job.id
        return run_job(
            hydra_context=shared["context"],
            task_function=shared["task"],
            config=self.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


@dataclass
class StageWork:
    """What a stage's job does: build it, unless another process has meanwhile."""

    app: Path
    config: RunConfig

    def __call__(self) -> None:
        """Build the stage; its name is made anew, for the data and packages may have changed since."""
        from rlpipe.run.run import run
        from rlpipe.stages.fingerprint import describe
        from rlpipe.stages.store import ensure

        _load(self.app)
        ensure(describe(self.config), run)


def freeze(sweep: Sweep, app: App, rehearsal: Rehearsal, confirms: bool = False) -> list[Job]:
    """Write down the work of every arm and of every stage that is not there yet; return the jobs, stages first.

    Raises LaunchError for work that cannot be written down, RecordError for folders that cannot be written.
    """
    missing = missing_stages(rehearsal.stages)
    shared = _share(sweep, app, rehearsal)
    found: list[Job] = []
    for stage in missing.values():
        job = stage_job(stage, missing)
        jobs.freeze(sweep, job, StageWork(shared, stage.config))
        found.append(job)
    for arm in rehearsal.arms:
        job = arm_job(arm, missing, confirms)
        if arm.run is not None:
            content = yaml.safe_dump(provenance.plain(to_plain(arm.run)), sort_keys=False, allow_unicode=True)
            write_atomic(sweep.frozen_config(job), content)
        jobs.freeze(sweep, job, ArmWork(shared, arm.config, arm.hydra))
        found.append(job)
    sweep.add(found)
    for stage in rehearsal.stages:
        reserve(stage.folder, sweep.folder)
    return found


def missing_stages(stages: Sequence[Stage]) -> dict[str, Stage]:
    """Return the stages that must be built first, by name, in the order in which they can be."""
    from rlpipe.stages.store import is_built

    return {stage.name: stage for stage in stages if not is_built(stage)}


def arm_job(arm: Arm, missing: dict[str, Stage], confirms: bool = False) -> Job:
    """Return an arm as a job that needs the stages that are missing."""
    needs = tuple(stage.name for stage in arm.stages if stage.name in missing)
    planned = steps(Subject(arm.run)) if arm.run is not None else None
    reads = (*(files_of(arm.run) if arm.run is not None else ()), *_built(arm.stages, missing))
    return Job(str(arm.number), Kind.arm, arm.overrides, str(arm.run_dir), needs, arm.fields, planned, confirms, reads)


def stage_job(stage: Stage, missing: dict[str, Stage]) -> Job:
    """Return a stage as a job that needs the stages before it that are missing too."""
    from rlpipe.stages.store import plan

    before = plan(stage.config)
    needs = tuple(one.name for one in before if one.name in missing)
    reads = (*files_of(stage.config), *_built(before, missing))
    planned = steps(Subject(stage.config))
    return Job(stage.name, Kind.stage, (), str(stage.folder), needs, {}, planned, reads=reads)


def _built(stages: Sequence[Stage], missing: dict[str, Stage]) -> Iterator[str]:
    return (str(stage.folder) for stage in stages if stage.name not in missing)


_PLACES = ("source", "model", "file")
"""Fields that take a folder, by whatever name."""


def files_of(config: RunConfig) -> Iterator[str]:
    """Yield the absolute paths of what is there on this machine of all that a config names: rows, weights, responses.

    A word is taken for a path where it names a file, and for that of a folder where it has a slash, or its field is one
    of `_PLACES`.
    """
    for cls, name, _, value in settings(config):
        if statement(cls, name).changes is Changes.nothing:
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if not isinstance(one, str) or one in ("", "hub", "sample") or "=" in one:
                continue
            place = Path(os.path.expanduser(one)).absolute()  # a text of any length says no more than that it is none
            folder = os.path.isdir(place) and ("/" in one or name in _PLACES)
            if os.path.isfile(place) or (folder and not Path.cwd().is_relative_to(place)):
                yield str(place)


def _share(sweep: Sweep, app: App, rehearsal: Rehearsal) -> Path:
    """Write what all arms share into one file, named by its content."""
    parts: dict[str, Any] = {
        "state": Singleton.get_state(),
        "context": app.context,
        "task": app.task,
        "compositions": _compositions(rehearsal),
    }
    frozen = jobs.pickled(parts, "the task")
    path = sweep.folder / ".launch" / f"app-{hashlib.sha256(frozen).hexdigest()[:12]}.pkl"
    write_atomic(path, frozen)
    return path


def _load(app: Path) -> dict[str, Any]:
    """Make this process like the one that froze the sweep: Hydra's state, resolvers, and what overrides stand for."""
    shared: dict[str, Any] = pickles.loads(app.read_bytes())
    Singleton.set_state(shared["state"])
    setup_globals()
    compose.known.update(shared["compositions"])
    return shared


def _compositions(rehearsal: Rehearsal) -> Compositions:
    """Compose every run that an arm needs, so that its job need not read the options again."""
    from rlpipe.stages.lineage import composed_from, parent_config, parent_overrides

    found: Compositions = {}
    seen: set[str] = set()

    def visit(config: RunConfig) -> None:
        for path in parent_overrides(config):
            overrides = composed_from(config, path)
            found.setdefault(overrides, compose.compose_untyped(overrides))
            visit(parent_config(config, path))

    for arm in rehearsal.arms:
        if arm.run is not None and (key := repr(parent_overrides(arm.run))) not in seen:
            seen.add(key)
            visit(arm.run)
    return found
