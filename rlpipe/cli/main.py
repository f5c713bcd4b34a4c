"""The command line: `rlpipe` and `python -m rlpipe`. A first word that names a command goes to it, all else is a run.

`cli.exits` lists the exit codes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from rlpipe.cli.commands import COMMANDS, load, refuse_misspelt
from rlpipe.cli.exits import DONE, exit_code, leave


def main() -> NoReturn:
    """Run the command line in `sys.argv` and exit."""
    leave(partial(command, sys.argv[1:]))


def status(argv: Sequence[str]) -> int:
    """Run a command line and return its exit code; bugs raise."""
    return exit_code(partial(command, argv))


def command(argv: Sequence[str]) -> int:
    """Run a command line, raise what it raises, and return its exit code; help and wrong flags exit at once."""
    if argv and argv[0] in COMMANDS:
        chosen = load(argv[0])
        return chosen.run(chosen.parser().parse_args(argv[1:]))
    if tuple(argv[:1]) in (("-sc",), ("--shell-completion",)) and _completed(argv[1:]):
        return DONE
    if argv:
        refuse_misspelt(argv[0])
    from rlpipe.cli.run import run  # Hydra: not for those who only look at what there is

    return run(argv)


def _completed(query: Sequence[str]) -> bool:
    """Print what may stand at the end of the line that a shell asks about; say whether Hydra has nothing to add."""
    if not any(word.startswith("query=") for word in query):
        return False
    from rlpipe.cli.completion import complete

    return complete()
