"""Driving a search: settings are asked for, run as arms of the sweep, and told what they came to.

Three files say how far it is, each written before what follows from it is done:

    optuna.jsonl            every trial that was asked for, and what it came to (`Trials`)
    sweep.json              every arm that was handed over
    .launch/*/outcome.json  how arms ended

Arms belong to a trial by their setting. So a driver that is killed at any moment leaves nothing that the next one does
not find: a trial without arms is launched, arms that are over and not told are told, and a setting that is drawn twice
is run once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rlpipe.config.launchers import TpeConfig
from rlpipe.config.overrides import as_typed
from rlpipe.core.errors import ConfigError, SweepFailed, advice
from rlpipe.core.terminal import say
from rlpipe.launchers.base import Launcher
from rlpipe.records import driving, rungs
from rlpipe.records.sweep import Job, Kind, Sweep, setting_of
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.criterion import Criterion, Measured, Result, measured
from rlpipe.sweep.rehearse import Rehearsal, rehearse
from rlpipe.sweep.space import Space
from rlpipe.sweep.states import Standing
from rlpipe.sweep.watch import Patience, look, shown

if TYPE_CHECKING:
    from rlpipe.sweep.launching import Launching
    from rlpipe.sweep.trials import Trial

JOURNAL = "optuna.jsonl"
"""The file in the sweep's folder that keeps the trials."""
ENOUGH = 5
"""Settings that fail, none having come to a value, after which nothing more is drawn."""
INTERVAL = 1.0
"""Seconds between two looks at the arms."""


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
        """Begin, or go on with what the sweep's folder says."""
        from rlpipe.sweep.trials import Trials  # Optuna, which is an extra

        self.launching, self.sweep, self.launcher = launching, sweep, launcher
        self.space, self.config, self.criterion = space, config, criterion
        self.batch = config.batch or 1
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
                        self._cancel_latecomers(now)
                        return
                    self.tell(now)
                    if self.ask(now):
                        continue
                    if all(one.state.over for one in now) and self._is_drawn_out and not self.trials.pending():
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
        for trial in self.trials.pending():
            measured = self.measured(trial, now)
            if measured is not None:
                self.trials.tell(trial, measured)
        for trial in self.trials.without_value():
            measured = self.measured(trial, now)
            if measured is not None and measured.result is Result.value:
                self.trials.tell_anew(trial, measured.value)

    def ask(self, now: Sequence[Standing]) -> list[Job]:
        """Draw as many settings as there is room for, and launch those that are not there yet; return the jobs.

        Trials that were drawn before a kill and never launched come first.
        """
        pending = self.trials.pending()
        under_way = {one.job.setting for one in now if one.job.kind is Kind.arm and not one.state.over}
        room = self.batch - len(under_way | {self.setting(trial) for trial in pending})
        drawn = pending
        while room > 0 and not self._is_drawn_out:
            drawn, room = [*drawn, self.trials.ask()], room - 1
        there = {arm.setting for arm in self.sweep.arms}
        missing = {self.setting(trial): trial for trial in drawn if self.setting(trial) not in there}
        number = max((int(arm.key) + 1 for arm in self.sweep.arms), default=0)
        ready: list[Arm] = []
        for trial in missing.values():
            ready += self._rehearsed(trial, number + len(ready))
        return self.launching.hand_over(self.sweep, self.launcher, Rehearsal(ready, [])) if ready else []

    def measured(self, trial: Trial, now: Sequence[Standing]) -> Measured | None:
        """Return what a trial's setting came to; None while it is not over or not begun."""
        setting = self.setting(trial)
        arms = [one for one in now if one.job.kind is Kind.arm and not one.job.confirms and one.job.setting == setting]
        return measured(self.criterion, arms, rungs.measured(self.sweep, setting)) if arms else None

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
        chosen = " ".join(as_typed(f"{key}={text}" for key, text in trial.setting.items()))
        say(f"the best of {self.trials.count} settings by {self.criterion.name}: {chosen} ({value:.4g})")
        say(advice(f"measure it again on fresh seeds: {again} confirm"))

    @property
    def _is_drawn_out(self) -> bool:
        """Whether nothing more is to be drawn: all is, or so many have failed that the next ones would fail too."""
        failed = self.trials.told(Result.failed)
        is_lost = failed >= max(ENOUGH, self.batch) and not self.trials.told(Result.value)
        return is_lost or self.trials.count >= self.config.trials

    def _cancel_latecomers(self, now: Sequence[Standing]) -> None:
        """Cancel what this process handed over while somebody ended the search."""
        if alive := [one.job for one in now if not one.state.over]:
            self.launcher.cancel(alive)

    def _rehearsed(self, trial: Trial, first: int) -> list[Arm]:
        """Rehearse the arms of a trial, numbered from `first`; a setting that cannot run has failed."""
        app, composer = self.launching.app, self.launching.composer
        try:
            batch = self.space.arms(trial.setting)
            return rehearse(app, batch, first, composer, self.launcher.here, repeats=True).arms
        except ConfigError as error:
            self.trials.tell(trial, Measured(Result.failed, reason=error.headline))
            say(f"a setting that was drawn cannot run: {error.headline}")
            return []
