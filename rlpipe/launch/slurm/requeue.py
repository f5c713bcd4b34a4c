"""Having the job that this process belongs to queued again."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from rlpipe.launchers.slurm.command import NoAnswer, Refused, ask, pairs

TRIES = 5
"""How often the controller is asked before the job ends all the same: SLURM kills it soon anyway."""


def requeue(most: int) -> str:
    """Have SLURM queue this job again, `most` times in all, and return what was done, in words.

    Nothing is done where SLURM does so itself, nor for a job that was cancelled.
    """
    job = _name(os.environ)
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
            words = str(error)
            time.sleep(2**attempt)
        except Refused as error:
            return f"not queued again: {error}"
    return f"not queued again: {words}"


def _name(environment: Mapping[str, str]) -> str:
    """Return the name of this job alone: a task's plain id is also, for one of them, that of its whole array."""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{environment['SLURM_ARRAY_TASK_ID']}" if array else environment["SLURM_JOB_ID"]
