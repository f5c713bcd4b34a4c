"""The trials of a search, kept by Optuna in a journal: a file of lines, written before anything is done about them.

    trials = Trials.journal(file, space, more_is_better=True)
    trial = trials.ask()                    its setting stands in the journal now
    trials.tell(trial, Measured(Result.value, 0.71))

A trial that was asked for and not told is pending, for whichever process reads the journal next. What is drawn depends
on what was told, the search's seed and the trial's number alone: no process keeps a random state. Imports Optuna.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from rlpipe.core.errors import RecordError
from rlpipe.core.files import cut_torn, remove
from rlpipe.sweep.criterion import Measured, Result
from rlpipe.sweep.space import Choice, Dimension, Setting, Space

STUDY = "search"
"""The study's name in its journal."""
AGAIN = "again"
"""The attribute of a trial that tells anew what became of an earlier one, with that one's number."""
REASON = "reason"
"""The attribute that says why a trial failed of which no run says it."""


_STATES = {Result.value: TrialState.COMPLETE, Result.failed: TrialState.FAIL, Result.pruned: TrialState.PRUNED}


@dataclass(frozen=True)
class Trial:
    """One draw."""

    number: int
    setting: Setting


class Trials:
    """The trials of one search."""

    def __init__(self, storage: BaseStorage, space: Space, more_is_better: bool, seed: int = 0, random: int = 10):
        """Begin a search in a storage, or go on with the one that is there; `random` draws learn from nothing."""
        self.space, self.seed, self.random = space, seed, random
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        direction = StudyDirection.MAXIMIZE if more_is_better else StudyDirection.MINIMIZE
        self._study = optuna.create_study(storage=storage, study_name=STUDY, direction=direction, load_if_exists=True)

    @classmethod
    def journal(cls, file: Path, space: Space, more_is_better: bool, seed: int = 0, random: int = 10) -> Trials:
        """Begin a search in a file, or go on with the one that is there; one process at a time may.

        Raises RecordError for a file that is no journal.
        """
        cut_torn(file)
        remove(file.with_name(f"{file.name}.lock"))  # of a process that was killed as it wrote
        try:
            return cls(JournalStorage(JournalFileBackend(str(file))), space, more_is_better, seed, random)
        except (ValueError, KeyError, TypeError) as error:
            fix = (
                "put it back from a backup; or move it away: the search begins anew, and knows the arms that are there"
            )
            raise RecordError(file, f"cannot be read as Optuna's journal ({error})", fix) from error

    @property
    def count(self) -> int:
        """How many trials were asked for."""
        return sum(AGAIN not in one.user_attrs for one in self._all())

    def told(self, result: Result) -> int:
        """How many trials came to this, as far as is told."""
        return sum(one.state is _STATES[result] for one in self._all())

    def best(self) -> tuple[Trial, float] | None:
        """Return the trial with the best value; None while none has one."""
        if not self.told(Result.value):
            return None
        best = self._study.best_trial
        with _quietly():
            return self._drawn(self._handle(best)), float(best.value or 0)

    def ask(self) -> Trial:
        """Draw a setting: at random at first, then where the settings that were told are good."""
        with _quietly():
            self._study.sampler = self._sampler(len(self._all()))
            return self._drawn(self._study.ask())

    def pending(self) -> list[Trial]:
        """Return the trials that are not told; one that was not drawn to its end before a kill is now."""
        return self._of(TrialState.RUNNING)

    def without_value(self) -> list[Trial]:
        """Return the trials that failed or were pruned, and of which nothing was told anew since."""
        retold = {one.user_attrs.get(AGAIN) for one in self._all()}
        return [one for one in self._of(TrialState.FAIL, TrialState.PRUNED) if one.number not in retold]

    def tell(self, trial: Trial, measured: Measured) -> None:
        """Tell what became of a pending trial."""
        with _quietly():
            handle = self._handle(self._all()[trial.number])
            for step, value in measured.rungs.items():
                if math.isfinite(value):
                    handle.report(value, step)
            if measured.reason:
                handle.set_user_attr(REASON, measured.reason)
            told = measured.value if measured.result is Result.value else None
            self._study.tell(trial.number, told, _STATES[measured.result])

    def tell_anew(self, trial: Trial, value: float) -> None:
        """Tell the value that a trial has got after it was told as failed or pruned, as a trial of its own."""
        old = self._all()[trial.number]
        attributes = {AGAIN: trial.number}
        self._study.add_trial(
            create_trial(params=old.params, distributions=old.distributions, value=value, user_attrs=attributes)
        )

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _of(self, *states: TrialState) -> list[Trial]:
        with _quietly():
            return [self._drawn(self._handle(one)) for one in self._all() if one.state in states]

    def _handle(self, frozen: FrozenTrial) -> optuna.Trial:
        self._study.sampler = self._sampler(frozen.number)
        return optuna.Trial(self._study, frozen._trial_id)

    def _sampler(self, number: int) -> TPESampler:
        digest = hashlib.sha256(f"{self.seed} {number}".encode()).digest()
        return TPESampler(
            seed=int.from_bytes(digest[:4]),
            n_startup_trials=self.random,
            multivariate=True,
            group=True,  # fields under conditions are drawn together with those that they always occur with
            constant_liar=True,  # what is under way counts as bad, so that it is not drawn again and again
        )

    def _drawn(self, trial: optuna.Trial) -> Trial:
        """Return a trial's setting: what is in the journal, and else what is drawn for it."""
        setting: Setting = {}
        for dimension in self.space.open(setting):
            setting[dimension.key] = _value(trial, dimension)
        return Trial(trial.number, setting)


def _value(trial: optuna.Trial, one: Dimension) -> str:
    if isinstance(one, Choice):
        return str(trial.suggest_categorical(one.key, one.values))
    if one.whole:
        step = int(one.step or 1)
        return one.written(trial.suggest_int(one.key, int(one.low), int(one.high), step=step, log=one.log))
    return one.written(trial.suggest_float(one.key, one.low, one.high, step=one.step, log=one.log))


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out what Optuna has to say about parts of itself that may change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
