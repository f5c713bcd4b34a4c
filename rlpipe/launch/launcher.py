"""The launcher that Hydra calls: rehearse, plan, freeze, submit, watch.

One class for every place where jobs can run; `hydra_plugins.rlpipe_launch` names the places.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import hydra.plugins.launcher
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from rlpipe.console import display
from rlpipe.errors import ConfigError, LaunchError
from rlpipe.launch import job as jobs
from rlpipe.launch import study
from rlpipe.launch.backend import Backend, backend_of
from rlpipe.launch.composition import Composer
from rlpipe.launch.extend import extending
from rlpipe.launch.freeze import freeze, refuse_used
from rlpipe.launch.plan import drawn, plan
from rlpipe.launch.rehearse import App, Rehearsal, rehearse
from rlpipe.launch.settings import LauncherConfig
from rlpipe.records.files import explained
from rlpipe.records.lease import acquire
from rlpipe.sweep.folder import Job, Kind, Sweep
from rlpipe.sweep.states import Standing, State
from rlpipe.sweep.watch import come_back, report, watch


class Launcher(hydra.plugins.launcher.Launcher):
    """Launches the arms of one sweep; a sweeper that works in batches calls `launch` for each."""

    name: ClassVar[str]
    Config: ClassVar[type[LauncherConfig]]

    def __init__(self, **settings: Any):
        self.app: App | None = None
        self.sweep: Sweep | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives: how to compose, what to run, and the sweep's own config."""
        self.app = App(hydra_context, task_function, config)
        self.composer = Composer(hydra_context.config_loader, config)
        self.settings = study.settings_of(self.app)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one arm for each list of overrides; return what each returned, failed ones as such.

        Raises ConfigError with all problems of all arms before anything is started, and LaunchError where the
        jobs cannot be handed over. With `wait=false` the returns say that the jobs were handed over, no more.
        """
        app = self.app
        assert app is not None
        setup_globals()
        configure_log(app.config.hydra.hydra_logging, app.config.hydra.verbose)
        sweep, backend = self._prepared(app)
        extension = extending.get()
        if extension is not None:
            job_overrides, initial_job_idx = extension.missing(job_overrides)
        rehearsal = rehearse(app, job_overrides, initial_job_idx, self.composer, backend.here, study.learns(app))
        if extension is not None:
            rehearsal = extension.unlike(rehearsal)
        if not rehearsal.arms:
            return []
        display.show_problems(rehearsal.notes)
        if app.is_ours:
            display.show(
                drawn(plan(rehearsal, Path(app.config.hydra.runtime.cwd, "multirun"), backend.at_once, backend.gpus))
            )
        if rehearsal.only_checks:
            display.say("all checks passed; nothing was started (until=check)")
            return [_handed_over(arm.overrides) for arm in rehearsal.arms]
        return self._run(sweep, backend, app, rehearsal)

    def _prepared(self, app: App) -> tuple[Sweep, Backend]:
        """Return the sweep and where its jobs run; nothing is written yet. Raises ConfigError and LaunchError."""
        extension = extending.get()
        if extension is not None:
            self.sweep = extension.sweep
        if self.sweep is None:
            self.sweep = Sweep(Path(app.config.hydra.sweep.dir).absolute(), study.study(app, self.name, self.settings))
            refuse_taken(self.sweep.folder)
        backend = backend_of(self.sweep)
        found = [*study.problems(app, self.settings), *backend.problems()]
        fatal = [problem for problem in found if problem.fatal]
        if fatal:
            raise ConfigError(fatal)
        display.show_problems(found)
        return self.sweep, backend

    def _run(self, sweep: Sweep, backend: Backend, app: App, rehearsal: Rehearsal) -> list[JobReturn]:
        refuse_used(rehearsal.arms)
        with only_one(sweep.folder):
            if not sweep.exists:
                sweep = self.sweep = Sweep.create(sweep.folder, **sweep.data)
                OmegaConf.save(app.config, sweep.folder / "multirun.yaml")
            backend = backend_of(sweep)
            frozen = freeze(sweep, app, rehearsal)
            backend.submit(frozen)
        arms = [job for job in frozen if job.kind is Kind.arm]
        extension = extending.get()
        if extension is not None:
            extension.fresh += frozen
        if extension is not None or not self.settings["wait"]:
            display.say(submitted(sweep, backend, frozen))
            return [_handed_over(job.overrides) for job in arms]
        standings = watch(sweep, backend)
        report(sweep, standings)
        return [_returned(sweep, job, standings) for job in arms]


def _handed_over(overrides: Sequence[str]) -> JobReturn:
    """Return what a sweeper is told of an arm that nobody waits for."""
    return JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)


def _returned(sweep: Sweep, job: Job, standings: Sequence[Standing]) -> JobReturn:
    """Return what an arm returned; for one that ended otherwise, a failure that says how."""
    standing = next(one for one in standings if one.job.key == job.key)
    found = jobs.returned(sweep, job)
    if found is not None and (standing.state is State.done or found.status is JobStatus.FAILED):
        return found
    failed = JobReturn(overrides=list(job.overrides), status=JobStatus.FAILED)
    failed.return_value = LaunchError(f"arm {job.key} {standing.state.value}: {standing.detail or 'it left no word'}")
    return failed


def submitted(sweep: Sweep, backend: Backend, jobs: Sequence[Job]) -> str:
    """Say where jobs went, by the scheduler's ids where it gives them, and how to come back."""
    seen = backend.sightings(jobs)
    ids = {job.key: seen[job.key].job_id for job in jobs if job.key in seen}
    listed = ", ".join(f"{job.key} ({ids[job.key]})" if ids.get(job.key) else job.key for job in jobs)
    return f"handed over: {listed}\n{come_back(sweep)}"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep other launchers out of a sweep's folder for the body. Raises RecordError while another is at it."""
    with explained(folder, "make the sweep's folder"):
        (folder / ".launch").mkdir(parents=True, exist_ok=True)
    lease = acquire(folder / ".launch", "launching a sweep here", patient=False)
    try:
        yield
    finally:
        lease.release()


def refuse_taken(folder: Path) -> None:
    """Raise LaunchError before any work for a folder that cannot be written or holds a sweep already."""
    if Sweep(folder, {}).exists:
        raise LaunchError(
            f"hydra.sweep.dir: {folder} holds a sweep already\n"
            f"    → go on with it: python -m rlpipe.sweep {folder} resume; or name another hydra.sweep.dir"
        )
    standing = folder
    while not standing.exists():
        standing = standing.parent
    if not standing.is_dir():
        raise LaunchError(f"hydra.sweep.dir: {standing} is a file\n    → name a folder")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise LaunchError(f"hydra.sweep.dir: {standing} cannot be written\n    → name a folder that can be")
