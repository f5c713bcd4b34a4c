"""Asking SLURM's commands, which all fail in the same ways."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping

from rlpipe.launchers.base import NoAnswer, Refused

TIMEOUT = 60.0
"""Seconds after which a command of SLURM counts as unanswered."""

AGAIN = "try again when `scontrol ping` answers"
DATABASE = "slurm_persist_conn_open", "Problem talking to the database"
AGAIN_DATABASE = "try again when `sacct` answers: SLURM's accounting database (slurmdbd) is down"

_NO_ANSWER = (
    *("Unable to contact slurm controller", "Socket timed out", "Zero Bytes were transmitted", "Connection refused"),
    *("Transport endpoint is not connected", "temporarily unable to accept job", "Resource temporarily unavailable"),
    *("Unexpected message received", "Connection timed out", "Slurm backup controller in standby mode"),
    "Problem talking to the database",
)


def ask(*command: str) -> str:
    """Run a command of SLURM and return what it prints. Raises NoAnswer and Refused, with SLURM's own words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError as error:
        raise Refused(command[0], "not on the path", "load the cluster's SLURM module, if it has one") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(command[0], f"no answer within {TIMEOUT:g} s", AGAIN) from error
    if done.returncode != 0:
        raise refusal(done.stderr.strip() or f"{command[0]}: exit code {done.returncode}")
    return done.stdout


def refusal(words: str) -> NoAnswer | Refused:
    """Return the error that SLURM's words stand for."""
    lowered = words.lower()
    if any(one.lower() in lowered for one in _NO_ANSWER):
        return NoAnswer("", words, AGAIN_DATABASE if any(one in words for one in DATABASE) else AGAIN)
    return Refused("", words, "fix what it names")


def pairs(line: str) -> dict[str, str]:
    """Return the `key=value` pairs of a line of `scontrol --oneliner show …`."""
    return dict(re.findall(r"(\S+?)=(\S*)", line))


TRIES = 5
"""How often the controller is asked before the job ends all the same: SLURM kills it soon anyway."""


def requeue(most: int) -> str:
    """Have SLURM queue this job again, `most` times in all, and return what was done, in words.

    Nothing is done where SLURM does so itself, nor for a job that was cancelled.
    """
    job = current_job_id(os.environ)
    restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    if restarts >= most:
        return f"not queued again: that was done {restarts} times already (hydra.launcher.requeues)"
    words = ""
    for attempt in range(TRIES):
        try:
            state = pairs(ask("scontrol", "--oneliner", "show", "job", job)).get("JobState")
            if state != "RUNNING":  # somebody has decided already what becomes of it
                return "what comes now is SLURM's to say"
            ask("scontrol", "requeue", job)
            return "queued again"
        except NoAnswer as error:
            words = error.headline
            time.sleep(2**attempt)
        except Refused as error:
            return f"not queued again: {error.headline}"
    return f"not queued again: {words}"


def current_job_id(environment: Mapping[str, str]) -> str:
    """Return the name of this job alone: a task's plain id is also, for one of them, that of its whole array."""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{environment['SLURM_ARRAY_TASK_ID']}" if array else environment["SLURM_JOB_ID"]
