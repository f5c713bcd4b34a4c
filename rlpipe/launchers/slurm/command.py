"""Asking SLURM's commands, which all fail in the same ways."""

from __future__ import annotations

import re
import subprocess

from rlpipe.core.errors import LaunchError

TIMEOUT = 60.0
"""Seconds after which a command of SLURM counts as unanswered."""

_NO_ANSWER = (
    *("Unable to contact slurm controller", "Socket timed out", "Zero Bytes were transmitted", "Connection refused"),
    *("Transport endpoint is not connected", "temporarily unable to accept job", "Resource temporarily unavailable"),
    *("Unexpected message received", "Connection timed out", "Slurm backup controller in standby mode"),
)


class NoAnswer(LaunchError):
    """SLURM's controller does not answer for now: what was asked may be asked again."""


class Refused(LaunchError):
    """SLURM answered, and said no."""


def ask(*command: str) -> str:
    """Run a command of SLURM and return what it prints. Raises NoAnswer and Refused, with SLURM's own words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError as error:
        raise Refused(f"{command[0]}: not on the path\n    → load the cluster's SLURM module, if it has one") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(f"{command[0]}: no answer within {TIMEOUT:g} s") from error
    if done.returncode != 0:
        raise refusal(done.stderr.strip() or f"{command[0]}: exit code {done.returncode}")
    return done.stdout


def refusal(words: str) -> NoAnswer | Refused:
    """Return the error that SLURM's words stand for."""
    lowered = words.lower()
    return (NoAnswer if any(one.lower() in lowered for one in _NO_ANSWER) else Refused)(words)


def pairs(line: str) -> dict[str, str]:
    """Return the `key=value` pairs of a line of `scontrol --oneliner show …`."""
    return dict(re.findall(r"(\S+?)=(\S*)", line))
