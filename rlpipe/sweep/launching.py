"""Launching the arms of a sweep, wherever they run: rehearse, plan, freeze, submit, watch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from rlpipe.core.errors import ConfigError, LaunchError, Problem
from rlpipe.core.terminal import say, show, show_problems
from rlpipe.launchers.base import Launcher, launcher_of
from rlpipe.records.sweep import Job, Kind, Sweep
from rlpipe.sweep import asha, study
from rlpipe.sweep import job as jobs
from rlpipe.sweep.composition import Composer
from rlpipe.sweep.extend import extending
from rlpipe.sweep.freeze import freeze
from rlpipe.sweep.place import only_one, refuse_taken, refuse_used, set_aside
from rlpipe.sweep.plan import Plan, drawn, plan
from rlpipe.sweep.rehearse import App, Rehearsal, rehearse
from rlpipe.sweep.states import Standing, State
from rlpipe.sweep.table import table
from rlpipe.sweep.watch import come_back, look, report, watch


class Launching:
    """Launches the arms of one sweep; a sweeper that works in batches calls `launch` for each."""

    def __init__(self, name: str, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig):
        """Take what Hydra gives: how to compose, what to run, and the sweep's own config."""
        self.name = name
        self.sweep: Sweep | None = None
        self.extension = extending.get()
        earlier = self.extension.sweep.data if self.extension is not None else None
        before = tuple(earlier["overrides"]) if earlier is not None else None
        self.app = App(hydra_context, task_function, config, before, earlier.get("store") if earlier else None)
        self.composer = Composer(hydra_context.config_loader, config)
        self.settings = study.settings_of(self.app)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one arm for each list of overrides; return what each returned, failed ones as such.

        Raises ConfigError with all problems of all arms before anything is started, and LaunchError where the
        jobs cannot be handed over. With `wait=false` the returns say that the jobs were handed over, no more.
        """
        sweep, launcher = self.begin()
        batch, first = list(job_overrides), initial_job_idx
        if self.extension is not None:
            batch, first = self.extension.missing(batch)
        rehearsal = self.rehearsed(launcher, batch, first)
        if self.extension is not None:
            rehearsal = self.extension.unlike(rehearsal)
        if not rehearsal.arms:
            return []
        if self.app.is_ours:
            show(drawn(self.planned(launcher, rehearsal)))
        if rehearsal.only_checks:
            say("all checks passed; nothing was started (until=check)")
            return [_handed_over(arm.overrides) for arm in rehearsal.arms]
        frozen = self.hand_over(sweep, launcher, rehearsal)
        self._say_handed(sweep, launcher, frozen)
        arms = [job for job in frozen if job.kind is Kind.arm]
        if self.extension is not None or not self.settings["wait"]:
            return [_handed_over(job.overrides) for job in arms]
        standings = watch(sweep, launcher)
        if study.learns(self.app):  # the sweep goes on: only this batch is news
            keys = [job.key for job in frozen]
            show(table([one for one in standings if one.job.key in keys]))
        else:
            report(sweep, standings)
        return [_returned(sweep, job, standings) for job in arms]

    @property
    def _confirms(self) -> bool:
        return self.extension is not None and self.extension.confirms

    def begin(self) -> tuple[Sweep, Launcher]:
        """Return the sweep, of which nothing is written before its first batch, and its launcher.

        Raises LaunchError for a folder that cannot be used.
        """
        setup_globals()
        configure_log(self.app.config.hydra.hydra_logging, self.app.config.hydra.verbose)
        if self.extension is not None:
            self.sweep = self.extension.sweep
        if self.sweep is None:
            folder = Path(self.app.config.hydra.sweep.dir).absolute()
            if not self.app.is_ours:
                set_aside(folder)
            refuse_taken(folder)
            self.sweep = Sweep(folder, study.study(self.app, self.name, self.settings))
        return self.sweep, launcher_of(self.sweep)

    def rehearsed(
        self, launcher: Launcher, batch: Sequence[Sequence[str]], first: int, more: Sequence[Problem] = ()
    ) -> Rehearsal:
        """Rehearse a batch; `more` is what else is wrong.

        Raises ConfigError with all that is wrong with settings, place and arms.
        """
        found = [*more, *study.problems(self.app, self.settings), *launcher.problems()]
        fatal = [problem for problem in found if problem.fatal]
        try:
            rehearsal = rehearse(self.app, batch, first, self.composer, launcher.here, study.learns(self.app))
        except ConfigError as error:
            raise ConfigError([*fatal, *error.problems]) from error
        if fatal:
            raise ConfigError(fatal)
        show_problems([*found, *rehearsal.notes])
        return rehearsal

    def planned(self, launcher: Launcher, rehearsal: Rehearsal) -> Plan:
        """Estimate what a batch will take."""
        earlier = Path(self.app.config.hydra.runtime.cwd, "multirun")
        prunes = not self._confirms and asha.settings_of(self.app.config.hydra.sweeper) is not None
        return plan(rehearsal, earlier, launcher.at_once, launcher.gpus, prunes, launcher.hourly())

    def create(self, sweep: Sweep) -> None:
        """Write down what the sweep is, where that has not been done. Raises LaunchError and RecordError."""
        if not sweep.exists:
            with only_one(sweep.folder):
                self._create(sweep)

    def _create(self, sweep: Sweep) -> None:
        Sweep.create(sweep.folder, **sweep.data)
        OmegaConf.save(self.app.config, sweep.folder / "multirun.yaml")
        sweep.data = Sweep.load(sweep.folder).data

    def hand_over(self, sweep: Sweep, launcher: Launcher, rehearsal: Rehearsal) -> list[Job]:
        """Freeze a batch and hand it over, but for stages that are being built. Raises LaunchError and RecordError."""
        refuse_used(rehearsal.arms)
        with only_one(sweep.folder):
            if not sweep.exists:
                self._create(sweep)
            frozen = freeze(sweep, self.app, rehearsal, self._confirms)
            stages = {job.key for job in frozen if job.kind is Kind.stage}
            building = {one.job.key for one in look(sweep, launcher) if not one.state.over} if stages else set()
            launcher.submit([job for job in frozen if job.key not in stages & building])
        return frozen

    def _say_handed(self, sweep: Sweep, launcher: Launcher, frozen: list[Job]) -> None:
        if self.extension is not None or not self.settings["wait"]:
            say(_handed(launcher, frozen))
        if self.extension is not None:
            self.extension.fresh += frozen
        elif not self.settings["wait"]:
            say(come_back(sweep))


def _handed_over(overrides: Sequence[str]) -> JobReturn:
    """Return what a sweeper is told of an arm that nobody waits for."""
    return JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)


def _returned(sweep: Sweep, job: Job, standings: Sequence[Standing]) -> JobReturn:
    """Return what an arm returned; for one that ended otherwise, a failure that says how."""
    standing = next(one for one in standings if one.job.key == job.key)
    if standing.state is State.pruned:
        return _handed_over(job.overrides)
    found = jobs.returned(sweep, job)
    if found is not None and (standing.state is State.done or found.status is JobStatus.FAILED):
        return found
    failed = JobReturn(overrides=list(job.overrides), status=JobStatus.FAILED)
    failed.return_value = LaunchError(
        "", f"arm {job.key} {standing.state.value}: {standing.detail or 'it left no word'}", ""
    )
    return failed


def _handed(launcher: Launcher, jobs: Sequence[Job]) -> str:
    """Say which jobs were handed over, with the scheduler's ids where it gives them."""
    seen = launcher.statuses(jobs)
    ids = {job.key: seen[job.key].job_id for job in jobs if job.key in seen}
    listed = ", ".join(f"{job.key} ({ids[job.key]})" if ids.get(job.key) else job.key for job in jobs)
    return f"handed over: {listed}"
