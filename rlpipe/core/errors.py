"""Every error that rlpipe raises on purpose.

    RlpipeError                 what a user can mend; printed without a traceback, exit code 2
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

A message says what is wrong, where (a dotted path, or a file and a row), and what to do.
Plugin authors raise plain Python errors; `plugins.blame` attributes them to the plugin in one place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class RlpipeError(Exception):
    """The base of all errors that a user can mend."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (dotted path or file), what, and what to do about it."""

    where: str
    what: str
    fix: str
    fatal: bool = True
    """False for something worth saying that does not stop the run."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n    → {self.fix}"


class ConfigError(RlpipeError):
    """A config with problems; carries all of them."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = list(problems)
        count = len(self.problems)
        title = "1 problem" if count == 1 else f"{count} problems"
        listed = "\n".join(f"  {i}. {problem}" for i, problem in enumerate(self.problems, 1))
        super().__init__(f"{title} found before anything was started:\n{listed}")


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


class Stopped(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved its state."""


def guess(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'? Known: …` for an unknown word, to end an error message with."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(known) if known else '(none)'}"
