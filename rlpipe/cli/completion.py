"""Tab completion: commands, their flags and folders from here, groups, options and fields from Hydra.

A shell that has read `rlpipe -sc install=bash` calls `rlpipe -sc query=bash` with the line so far in COMP_LINE.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlpipe.cli.commands import COMMANDS, load

LINE = "COMP_LINE"
FOLDERS = ("DIR", "RUN", "NEW")
"""The metavars of arguments that name folders."""
OVERRIDES = ("OVERRIDE", "FIELD=VALUES")
"""The metavars of arguments that are a run's settings, which Hydra completes."""


@dataclass
class Answer:
    """What may stand at the end of a line."""

    words: Sequence[str] = ()
    hydra: Sequence[str] | None = None
    """A run's settings so far, the last of them unfinished, where Hydra has more to say; None where it has not."""


def complete() -> bool:
    """Print what may stand at the end of COMP_LINE; say whether that is all, so that Hydra is not asked."""
    found = answer(os.environ[LINE])
    print("\n".join(found.words))
    if found.hydra is None:
        return True
    os.environ[LINE] = " ".join(["rlpipe", *found.hydra])
    return False


def answer(line: str) -> Answer:
    """Return what may stand at the end of a line, whose last word is unfinished unless a space follows it."""
    _, *words = line.split()
    if not line or line[-1].isspace():
        words.append("")
    if len(words) > 1 and words[0] in COMMANDS:
        return _of(load(words[0]).parser(), words[1:])
    commands = _beginning(words[0] if words else "", COMMANDS) if len(words) < 2 else []
    return Answer(commands, words)


def _of(parser: argparse.ArgumentParser, words: Sequence[str]) -> Answer:
    """Return what a command's parser takes at the end of its words."""
    *before, typed = words
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    places = [action for action in parser._actions if not action.option_strings]
    wanted: argparse.Action | None = None
    """The flag whose value comes next."""
    first = 0
    """Where the words of the present place begin."""
    for number, word in enumerate(before):
        if wanted is not None:
            wanted = None
        elif word.startswith("-"):
            action = flags.get(word)
            wanted = action if action is not None and action.nargs != 0 else None
        elif places and isinstance(places[0], argparse._SubParsersAction):
            chosen = places[0].choices.get(word)
            return _of(chosen, words[number + 1 :]) if chosen is not None else Answer()
        elif places and places[0].nargs not in ("*", "+"):
            places, first = places[1:], number + 1
    if wanted is not None:
        return _taken(wanted, typed)
    if typed.startswith("-"):
        return Answer(_beginning(typed, flags))
    if places and places[0].metavar in OVERRIDES:
        return Answer(hydra=[word for word in words[first:] if not word.startswith("-")])
    return _taken(places[0], typed) if places else Answer()


def _taken(action: argparse.Action, typed: str) -> Answer:
    """Return the values of an argument that begin as typed."""
    if action.choices is not None:
        return Answer(_beginning(typed, action.choices))
    return Answer(sorted(_folders(typed)) if action.metavar in FOLDERS else ())


def _beginning(typed: str, known: Iterable[object]) -> list[str]:
    return [str(one) for one in known if str(one).startswith(typed)]


def _folders(typed: str) -> Iterator[str]:
    """Yield the folders whose path begins as typed, as it would go on: ending in a slash."""
    place, slash, start = typed.rpartition("/")
    with suppress(OSError):  # nothing is there, or nothing may be read: then there is nothing to offer
        for entry in os.scandir(Path(place + slash or ".").expanduser()):
            hidden = entry.name.startswith(".") and not start.startswith(".")
            if entry.name.startswith(start) and entry.is_dir() and not hidden:
                yield f"{place}{slash}{entry.name}/"
