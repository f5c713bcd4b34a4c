"""Driving a search (`hydra/sweeper=tpe`): settings are asked for, run as arms of the sweep, and told what they came to.

Three files say how far it is, each written before what follows from it is done:

    optuna.jsonl            every trial that was asked for, and what it came to (`Trials`)
    sweep.json              every arm that was handed over
    .launch/*/outcome.json  how arms ended

Arms belong to a trial by their setting. So a driver that is killed at any moment leaves nothing that the next one does
not find: a trial without arms is launched, arms that are over and not told are told, and a setting that is drawn twice
is run once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from rlpipe.config.compose import to_plain
from rlpipe.config.launchers import RungsConfig, TpeConfig
from rlpipe.config.overrides import as_typed, key_of
from rlpipe.config.ranges import out_of_range
from rlpipe.core.errors import ConfigError, Problem, SweepFailed, advice
from rlpipe.core.terminal import say
from rlpipe.launchers.base import Launcher
from rlpipe.records import driving, rungs
from rlpipe.records.sweep import Job, Kind, Sweep, setting_of
from rlpipe.sweep import asha
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.criterion import Criterion, criterion_of
from rlpipe.sweep.extend import Extension, again
from rlpipe.sweep.plan import Plan, bound
from rlpipe.sweep.rehearse import Rehearsal, rehearse
from rlpipe.sweep.space import Choice, Dimension, Space, read, typed
from rlpipe.sweep.states import Standing, State, resumable
from rlpipe.sweep.watch import Patience, look, report, shown

if TYPE_CHECKING:
    from rlpipe.sweep.launching import Launching
    from rlpipe.sweep.trials import Measured, Trial

CHOICE = "hydra/sweeper=tpe"
TRIALS = "hydra.sweeper.trials"
OPTUNA = 5
"""The oldest version of Optuna that will do."""
INSTALL = "pip install 'rlpipe[optuna]'"
JOURNAL = "optuna.jsonl"
"""The file in the sweep's folder that keeps the trials."""
ENOUGH = 5
"""Settings that fail, none having come to a value, after which nothing more is drawn."""
INTERVAL = 1.0
"""Seconds between two looks at the arms."""


def search(launching: Launching, overrides: Sequence[Override]) -> None:
    """Search until all trials are told, or go on with a search.

    Raises ConfigError with all that is wrong with space, settings, place, and both ends of every interval, before
    anything is started; RecordError while another process drives the same search, and SweepFailed where no setting
    came to a value.
    """
    space, faults = read(overrides)
    config = _config(launching.app.config.hydra.sweeper)
    sweep, launcher = launching.begin()
    faults += _problems(config, launcher)
    corners = [space.arms(corner)[0] for corner in space.corners()]
    rehearsal = launching.rehearsed(launcher, corners, 0, faults)
    runs = [arm.run for arm in rehearsal.arms if arm.run is not None]
    criterion = criterion_of([to_plain(run) for run in runs], runs[0].objective)
    assert criterion is not None, "the rehearsal refuses a search without one"
    plan = launching.planned(launcher, rehearsal)
    for line in _plan(config, space, criterion, plan, batch_of(config, space, launcher)):
        say(line)
    if rehearsal.only_checks:
        say("all checks passed; nothing was started (until=check)")
        return
    launching.create(sweep)
    with driving.driving(sweep) as still_ours:
        if launching.extension is not None:
            _take_up(sweep, launcher, launching.extension)
        driver = Driver(launching, sweep, launcher, space, config, criterion)
        driver.drive(still_ours)
    report(sweep, look(sweep, launcher))
    driver.conclude()


def go_on(sweep: Sweep, trials: int | None, pruned: bool, command: Callable[[Sequence[str]], object]) -> None:
    """Go on with a search, from any process: run again what `resume` does, then ask and tell.

    `trials` is another number of settings, `pruned` lets pruned arms go on to their end. Raises what `search` raises.
    """
    number = [] if trials is None else [f"{TRIALS}={trials}"]
    again(Extension(sweep, searches=True, pruned=pruned, hydras=number), sweep.data["overrides"], command)


def _take_up(sweep: Sweep, launcher: Launcher, extension: Extension) -> None:
    """Hand over again what has not ended well, as whoever drove the search before has left it."""
    sweep.data = Sweep.load(sweep.folder).data
    driving.go_on(sweep)
    for override in extension.hydras:
        kept = [one for one in sweep.data["hydra_overrides"] if key_of(one) != key_of(override)]
        sweep.change(hydra_overrides=[*kept, override])
    now = look(sweep, launcher)
    if jobs := resumable(sweep, now, now, extension.pruned):
        launcher.submit(jobs)
        say(f"submitted again: {', '.join(job.key for job in jobs)}")


class Driver:
    """What one process does for a search."""

    def __init__(
        self,
        launching: Launching,
        sweep: Sweep,
        launcher: Launcher,
        space: Space,
        config: TpeConfig,
        criterion: Criterion,
    ):
        from rlpipe.sweep.trials import Trials

        self.launching, self.sweep, self.launcher = launching, sweep, launcher
        self.space, self.config, self.criterion = space, config, criterion
        self.batch = batch_of(config, space, launcher)
        journal = sweep.folder / JOURNAL
        self.trials = Trials.journal(journal, space, criterion.more_is_better, config.seed, config.random)

    def drive(self, still_ours: Callable[[], None]) -> None:
        """Ask and tell until all trials are told, or the search is ended from elsewhere.

        On Ctrl-C the jobs go on: it says how to come back and raises KeyboardInterrupt.
        """
        patience = Patience()
        try:
            with shown(self.sweep) as show:
                while True:
                    still_ours()
                    now = look(self.sweep, self.launcher)
                    show(now)
                    if driving.is_ended(self.sweep):
                        return
                    self.tell(now)
                    if self.ask():
                        continue
                    if all(one.state.over for one in now) and not self.trials.pending():
                        return
                    if patience.is_out(now):
                        return
                    time.sleep(INTERVAL)
        except KeyboardInterrupt:
            again = advice(f"go on with the search: rlpipe sweep {self.sweep.folder} resume")
            say(f"\nno longer searching; the arms that are under way go on, and nothing more is drawn\n{again}")
            raise

    def tell(self, now: Sequence[Standing]) -> None:
        """Tell what is over; also what has got a value only after it was told as failed or pruned."""
        from rlpipe.sweep.trials import Result

        for trial in self.trials.pending():
            measured = self.measured(trial, now)
            if measured is not None:
                self.trials.tell(trial, measured)
        for trial in self.trials.without_value():
            measured = self.measured(trial, now)
            if measured is not None and measured.result is Result.value:
                self.trials.tell_anew(trial, measured.value)

    def ask(self) -> list[Job]:
        """Draw as many settings as there is room for, and launch those that are not there yet; return the jobs.

        Trials that were drawn before a kill and never launched come first.
        """
        pending = self.trials.pending()
        room = 0 if self._is_lost else min(self.batch - len(pending), self.config.trials - self.trials.count)
        drawn = [*pending, *(self.trials.ask() for _ in range(room))]
        there = {arm.setting for arm in self.sweep.arms}
        missing = {self.setting(trial): trial for trial in drawn if self.setting(trial) not in there}
        number = max((int(arm.key) + 1 for arm in self.sweep.arms), default=0)
        ready: list[Arm] = []
        for trial in missing.values():
            ready += self._rehearsed(trial, number + len(ready))
        return self.launching.hand_over(self.sweep, self.launcher, Rehearsal(ready, [])) if ready else []

    def measured(self, trial: Trial, now: Sequence[Standing]) -> Measured | None:
        """Return what a trial's setting came to, by the mean of its seeds; None while it is not over or not begun.

        Where a seed was pruned or failed the others say nothing of the setting: what is left would be its luckier ones.
        """
        from rlpipe.sweep.trials import Measured, Result

        setting = self.setting(trial)
        arms = [one for one in now if one.job.kind is Kind.arm and not one.job.confirms and one.job.setting == setting]
        if not arms or not all(one.state.over for one in arms):
            return None
        reports = rungs.measured(self.sweep, setting)
        states = {one.state for one in arms}
        if State.pruned in states:
            return Measured(Result.pruned, rungs=reports)
        if states != {State.done}:
            return Measured(Result.failed, rungs=reports)
        value = sum(self.criterion.of(one.job) for one in arms) / len(arms)
        if not math.isfinite(value):
            return Measured(Result.failed, rungs=reports, reason=f"no finite {self.criterion.metric}")
        return Measured(Result.value, value, reports)

    def setting(self, trial: Trial) -> str:
        """Return what the arms of a trial have in common."""
        return setting_of(as_typed(self.space.arms(trial.setting)[0]))

    def conclude(self) -> None:
        """Say what was found. Raises SweepFailed where no setting came to a value."""
        again = f"rlpipe sweep {self.sweep.folder}"
        if driving.is_ended(self.sweep):
            say(f"the search was ended\n{advice(f'go on with it: {again} resume')}")
            return
        best = self.trials.best()
        if best is None:
            what = f"none of {self.trials.count} settings came to a value, so that nothing is learned"
            raise SweepFailed("", what, f"see to what failed, then: {again} resume")
        trial, value = best
        fields = " ".join(as_typed(f"{key}={value}" for key, value in trial.setting.items()))
        say(f"the best of {self.trials.count} settings by {self.criterion.name}: {fields} ({value:.4g})")
        say(advice(f"measure it again on fresh seeds: {again} confirm"))

    @property
    def _is_lost(self) -> bool:
        """Whether so many settings have failed, and none has a value, that the next ones would fail too."""
        from rlpipe.sweep.trials import Result

        failed = self.trials.told(Result.failed)
        return failed >= max(ENOUGH, self.batch) and not self.trials.told(Result.value)

    def _rehearsed(self, trial: Trial, first: int) -> list[Arm]:
        """Rehearse the arms of a trial, numbered from `first`; a setting that cannot run has failed."""
        from rlpipe.sweep.trials import Measured, Result

        app, composer = self.launching.app, self.launching.composer
        try:
            batch = self.space.arms(trial.setting)
            return rehearse(app, batch, first, composer, self.launcher.here, repeats=True).arms
        except ConfigError as error:
            self.trials.tell(trial, Measured(Result.failed, reason=error.headline))
            say(f"a setting that was drawn cannot run: {error}")
            return []


def batch_of(config: TpeConfig, space: Space, launcher: Launcher) -> int:
    """Return how many settings are under way at once."""
    if config.batch is not None:
        return config.batch
    return max(1, (launcher.at_once or 1) // max(1, len(space.seeds)))


def _config(sweeper: DictConfig) -> TpeConfig:
    plain: Any = OmegaConf.to_container(sweeper, resolve=True)
    return TpeConfig(**{key: value for key, value in plain.items() if key != "_target_"})


def _problems(config: TpeConfig, launcher: Launcher) -> Iterator[Problem]:
    """Yield what is wrong with a search's settings here."""
    yield from _optuna()
    judged = {f"hydra.sweeper.{one.name}" for one in fields(RungsConfig)}
    yield from (one for one in out_of_range(config, "hydra.sweeper.") if not (config.prune and one.where in judged))
    if config.batch is None and launcher.at_once is None:
        what = "nothing says how many settings may be under way at once"
        yield Problem("hydra.sweeper.batch", what, "say it: hydra.sweeper.batch=8; or set hydra.launcher.throttle")
    usual = RungsConfig()
    for name in () if config.prune else ("rungs", "reduction"):
        if getattr(config, name) != getattr(usual, name):
            fix = f"add {asha.PRUNE}, or drop it"
            yield Problem(f"hydra.sweeper.{name}", "is where hopeless arms end, and none does", fix)


def _optuna() -> Iterator[Problem]:
    try:
        found = version("optuna")
    except PackageNotFoundError:
        yield Problem(CHOICE, "Optuna is not installed", INSTALL)
        return
    if int(found.partition(".")[0]) < OPTUNA:
        yield Problem(CHOICE, f"Optuna {found} is older than {OPTUNA}", f"{INSTALL} (uninstall hydra-optuna-sweeper)")


def _described(one: Dimension) -> str:
    """Return what a field is drawn from, and under which conditions."""
    if isinstance(one, Choice):
        drawn = ", ".join(typed(one.key, value) for value in one.values)
    else:
        low, high = one.ends
        parts = (f"{low} to {high}", "logarithmic" if one.log else "", f"by {one.step:g}" if one.step else "")
        drawn = ", ".join(part for part in parts if part)
    where = " and ".join(f"{each.key}={','.join(each.values)}" for each in one.conditions)
    return f"  {one.key}: {drawn}" + (f"  (where {where})" if where else "")


def _plan(config: TpeConfig, space: Space, criterion: Criterion, plan: Plan, batch: int) -> list[str]:
    """Say what a search will do and take."""
    seeds = f", each with the seeds {', '.join(space.seeds)}" if space.seeds else ""
    better = "more" if criterion.more_is_better else "less"
    runs = config.trials * max(1, len(space.seeds))
    return [
        f"search: {config.trials} settings{seeds}, {batch} at once, for the best {criterion.name} ({better} is better)",
        *map(_described, space.dimensions),
        f"checked: {len(plan.rehearsal.arms)} settings in which every choice and both ends of every interval occur",
        *bound(plan, runs),
    ]
