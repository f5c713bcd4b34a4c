"""The commands of `rlpipe`: which there are, where each is, and how its help is laid out.

A command is a module with `parser() -> argparse.ArgumentParser` and `run(arguments) -> int`, which returns the exit
code and raises RlpipeError for what the user can fix. It is imported when its word is typed.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

from rlpipe.core.errors import ConfigError, Problem, guess

WIDTH = 110
USUAL = "0 done, 2 something to fix"
"""What the exit codes of most commands mean."""


@dataclass(frozen=True)
class Command:
    """One command, as the overview shows it."""

    arguments: str
    line: str
    module: str


COMMANDS = {
    "sweep": Command("DIR …", "show, watch, resume, extend or end a sweep", "rlpipe.cli.sweep"),
    "report": Command("DIR…", "compare runs and sweeps, with intervals", "rlpipe.cli.report"),
    "stages": Command("…", "list, verify, explain and prune the models and data that runs share", "rlpipe.cli.stages"),
    "chat": Command("RUN", "talk to its model, tools included", "rlpipe.cli.chat.main"),
    "export": Command(
        "RUN [DIR]", "write its model for the hub, llama.cpp or Ollama, or upload it", "rlpipe.cli.export.main"
    ),
    "reproduce": Command("RUN", "run it again and compare the results, bit for bit", "rlpipe.cli.reproduce.main"),
}


class Module(Protocol):
    """What a command's module offers."""

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of what follows the command's word."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do what was asked, and return the exit code."""


def load(name: str) -> Module:
    """Import the module of a command."""
    return cast(Module, importlib.import_module(COMMANDS[name].module))


def page(description: str, examples: Sequence[tuple[str, str]], codes: str = USUAL) -> dict[str, Any]:
    """Return a page of help as argparse's parsers take it; an example is a command line and what it does."""
    left = max(len(line) for line, _ in examples) + 2
    shown = "\n".join(f"  {line:<{left}}{meaning}" for line, meaning in examples)
    return {
        "description": textwrap.fill(description, WIDTH),
        "epilog": f"examples\n{shown}\n\n" + textwrap.fill(f"Exit codes: {codes}.", WIDTH),
        "formatter_class": partial(argparse.RawDescriptionHelpFormatter, width=WIDTH),
    }


def refuse_misspelt(word: str) -> None:
    """Raise ConfigError for a first word that is no setting and no option, but nearly a command."""
    if not word.isalpha() or not difflib.get_close_matches(word, COMMANDS, n=1):
        return
    from rlpipe.config.options import options

    groups = options()
    if word not in groups and not any(word in known for known in groups.values()):
        fix = f"{guess(word, COMMANDS)}; the settings of a run are written name=value, for example method=dpo"
        raise ConfigError([Problem(word, "there is no command of this name", fix)])


def refuse_misplaced(words: Sequence[str]) -> None:
    """Raise ConfigError for the word of a command among the settings of a run."""
    for word in words:
        if word in COMMANDS:
            fix = f"write rlpipe {word} {COMMANDS[word].arguments} (rlpipe {word} --help)"
            raise ConfigError([Problem(word, "a command is the first word of its line", fix)])
