"""How a command of rlpipe ends: its exit code, and errors that the user can fix as one message.

Codes: 0 done; 1 a bug (with its traceback), or what was asked for is not well (an arm failed, a run is not
reproduced); 2 something that the user can fix (one message, no traceback); 75 stopped on request with
everything saved (the same command goes on; sysexits' EX_TEMPFAIL); 130 interrupted before there was anything
to save; 141 nobody reads the output. `HYDRA_FULL_ERROR=1` shows tracebacks for 2 as well.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from rlpipe.core.errors import RlpipeError, Stopped, SweepFailed
from rlpipe.core.hangup import heard_or_not
from rlpipe.core.visible import visible

DONE, UNWELL, FIXABLE, STOPPED, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 75, 130, 141

TRACEBACKS = "HYDRA_FULL_ERROR"
"""The environment variable that asks for tracebacks."""


def leave(command: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its code; what the user can fix is said on standard error, bugs raise."""
    try:
        code = exit_code(command)
        sys.stdout.flush()
    except BrokenPipeError:
        # `rlpipe --help | head`: nobody reads on, and the interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PIPE_CLOSED
    sys.exit(code)


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and return its code; what the user can fix is said on standard error, bugs raise."""
    show_tracebacks = os.environ.get(TRACEBACKS) == "1"  # asked now: Hydra's own setting may be on later
    try:
        return command()
    except Stopped as stopped:
        return say(stopped, STOPPED)
    except KeyboardInterrupt:
        return say("interrupted", INTERRUPTED)
    except SweepFailed as error:
        return say(error, UNWELL)
    except RlpipeError as error:
        if show_tracebacks:
            traceback.print_exc()
        return say(error, FIXABLE)


def say(message: object, code: int) -> int:
    """Say on standard error why a command ends, and return its code."""
    with heard_or_not():
        print(visible(f"rlpipe: {message}"), file=sys.stderr)
    return code
