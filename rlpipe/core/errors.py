"""Every error that rlpipe raises on purpose.

    RlpipeError                 what a user can fix; printed without a traceback, exit code 2
    ├── ConfigError             one or more Problems of a composed config
    ├── DataError               a dataset that cannot be read or used: names the file and the row
    ├── ModelError              a model or tokenizer that cannot be loaded or prepared
    ├── PluginError             a plugin that cannot be found, imported, or that broke its contract
    ├── RecordError             a run directory that cannot be written, or that belongs to another run
    ├── StageError              a stage that failed to build or whose record is damaged
    ├── TrainingError           training that must not go on (a loss that is not a number)
    ├── LaunchError             a sweep that cannot be launched, or a scheduler that refuses it
    └── SweepFailed             arms of a sweep that failed; their errors have been shown (exit code 1)

    Stopped                     not an error: the run was asked to stop, has saved, and can go on
    └── Pruned                  not an error: an arm of a sweep that others have left behind, saved where it ended

An error is data: `where` (a dotted path, or a file and a row), `what` is wrong, and the `fix`. Only here it becomes
text, and nothing reads that text back. Plugin authors raise plain Python errors; `plugins.blame` attributes them to the
plugin in one place.
"""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (dotted path or file), what, and what to do about it."""

    where: str
    """Empty where `what` says it already."""
    what: str
    fix: str
    """Empty only where nothing can be done."""
    fatal: bool = True
    """False for something worth saying that does not stop the run."""

    def __str__(self) -> str:
        return f"{self.headline}\n{advice(self.fix)}" if self.fix else self.headline

    @property
    def headline(self) -> str:
        """Where and what, without the fix."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def below(self, path: str) -> Problem:
        """Return this problem of a node's field as one of the config, in which the node stands at a dotted path."""
        return replace(self, where=f"{path}.{self.where}")


def advice(fix: str) -> str:
    """Return the line that says what to do, as it stands below what is wrong."""
    return f"    → {fix}"


class _Told(Exception):
    """An exception that carries a Problem, and is copied and pickled with all of its attributes."""

    def __init__(self, where: str | Path, what: str, fix: str):
        self.where = str(where)
        super().__init__(self.where, what, fix)
        self.what = what
        self.fix = fix

    @property
    def problems(self) -> list[Problem]:
        """What is wrong, as data: one Problem, and several only of a ConfigError."""
        return [Problem(self.where, self.what, self.fix)]

    @property
    def headline(self) -> str:
        """Where and what, without the fix."""
        return "; ".join(problem.headline for problem in self.problems)

    def at(self, where: str) -> Problem:
        """Return this error as one Problem of a place of the config; a place that it names itself goes into `what`."""
        what = self.what if self.where == where else self.headline
        return Problem(where, what, "; ".join(problem.fix for problem in self.problems if problem.fix))

    def __str__(self) -> str:
        return str(Problem(self.where, self.what, self.fix))

    def __reduce__(self) -> tuple[Any, ...]:
        # Without calling `__init__`, whose parameters a subclass chooses.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class RlpipeError(_Told):
    """The base of all errors that a user can fix: where (may be ""), what is wrong, and what to do (may be "")."""


class ConfigError(RlpipeError):
    """A config with problems; carries all of them."""

    def __init__(self, problems: Iterable[Problem]):
        self._problems = list(problems)
        count = len(self._problems)
        title = "1 problem" if count == 1 else f"{count} problems"
        listed = "\n".join(f"  {i}. {problem}" for i, problem in enumerate(self._problems, 1))
        super().__init__("", f"{title} found before anything was started:\n{listed}", "")

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong with the config."""
        return self._problems


class DataError(RlpipeError):
    """A dataset that cannot be read or used."""


class ModelError(RlpipeError):
    """A model or tokenizer that cannot be loaded or prepared."""


class PluginError(RlpipeError):
    """A plugin that cannot be found or imported, or that broke its contract."""


class RecordError(RlpipeError):
    """A run directory that cannot be written, is in use, or belongs to another run."""


class StageError(RlpipeError):
    """A stage that failed to build, or whose stored result is damaged."""


class TrainingError(RlpipeError):
    """Training that must not go on."""


class LaunchError(RlpipeError):
    """A sweep that cannot be launched, or a scheduler that refuses it."""


class SweepFailed(RlpipeError):
    """Arms of a sweep that have failed, after all arms are over."""


class Stopped(_Told):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved its state; says what it saved, and how to go on."""


class Pruned(Stopped):
    """The run is an arm that did not go on at a rung of its sweep; says how it stood there, and how to extend it."""


LISTED = 50
"""Names that are all listed; of more, those that are near what was written."""


def guess(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'? Known: …` for an unknown word, to end an error message with."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    if len(known) > LISTED:
        near = difflib.get_close_matches(word, known, n=8, cutoff=0.3) or known[:8]
        return f"{hint}known, of {len(known)}: {', '.join(sorted(near))} …"
    return f"{hint}known: {', '.join(known) if known else '(none)'}"
