"""A terminal that goes away ends nothing."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys
from rlpipe.core.signals import stop_requests
from rlpipe.core.terminal import say
from rlpipe.cli.exits import say as leave

with stop_requests() as stop:
    say("here")
    os.read(0, 1)
    if sys.argv[1] == "told":
        os.kill(os.getpid(), signal.SIGHUP)
    say("gone")
    say("still gone")
    leave("ended", 0)
    print("also here", flush=True)
    os.write(3, b"told" if stop.requested else b"not told")
"""


@pytest.mark.parametrize("told", ["told", "not told"])
def test_what_is_said_to_a_terminal_that_is_gone_goes_nowhere(told):
    """Both as the kernel tells of it by SIGHUP, and as it does not tell who was disowned."""
    terminal, end = pty.openpty()
    (begin, go_on), (read, done) = os.pipe(), os.pipe()
    command = [sys.executable, "-c", f"import os; os.dup2({done}, 3)\n{SCRIPT}", told]
    process = subprocess.Popen(command, stdin=begin, stdout=end, stderr=end, pass_fds=[done], start_new_session=True)
    os.close(end), os.close(done)
    assert b"here" in os.read(terminal, 100)
    os.close(terminal)
    os.write(go_on, b"!")
    assert os.read(read, 100).decode() == told
    assert process.wait(60) == 0
    assert process.returncode != -signal.SIGHUP
