"""The batch script of an array, and handing it to sbatch: both are submitit's, but for what runs in the job.

submitit's own job runs a pickle of its making under its own signal handlers; ours runs `rlpipe.launchers.slurm.task`.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlpipe.config.launchers import SlurmConfig
from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import NoAnswer
from rlpipe.launchers.slurm.command import ask, refusal

PATIENCE = 300.0
"""Seconds for which a submission is tried again while the controller does not answer."""

# Until the task listens itself, a request to stop is none: it would end a Python that has only begun to start.
_DEAF = """bash -c 'trap "" USR2 TERM; exec "$@"' task"""
_TASK = f'srun --unbuffered --kill-on-bad-exit=1 {_DEAF} {{python}} -u -m rlpipe.launchers.slurm.task "$job"'


def submit(
    config: SlurmConfig, folders: Sequence[Path], work: Path, *, name: str, cwd: str, after: str, at_once: int | None
) -> str:
    """Submit the jobs of `folders` as one array and return its id; task i runs the i-th.

    `work` is where the scripts are kept, `after` a dependency in sbatch's words ("" for none). Asks again for
    `PATIENCE` seconds while the controller does not answer, without ever submitting twice. Raises LaunchError.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError
    from submitit.slurm.slurm import SlurmExecutor

    work.mkdir(parents=True, exist_ok=True)
    executor = SlurmExecutor(work)
    executor.update_parameters(**parameters(config, folders, work, name=name, cwd=cwd, after=after))
    executor.parameters |= {"map_count": len(folders), "array_parallelism": at_once or len(folders)}
    command = _TASK.format(python=shlex.quote(sys.executable))
    before = set(_scripts(work))
    for pause in _pauses():
        try:
            with _outside_of_any_job():
                return executor._submit_command(command).job_id
        except (FailedJobError, FailedSubmissionError) as error:
            refused = refusal(str(error))
        except OSError as error:
            raise LaunchError("sbatch", f"cannot be run ({error})", "is SLURM installed here?") from error
        if not isinstance(refused, NoAnswer):
            _forget(set(_scripts(work)) - before)
            raise LaunchError("", f"sbatch refused the jobs: {refused.headline}", "fix the settings it names")
        from rlpipe.core.terminal import say  # rich: not for composing

        say(f"sbatch: {refused.what.splitlines()[-1]}; asking again in {pause:g} s")
        time.sleep(pause)
        # An answer that was lost on its way may stand for a submission that went through.
        if known := _accepted(set(_scripts(work)) - before):
            return known
    raise LaunchError(
        "", f"SLURM's controller did not answer for {PATIENCE:g} s", "try again when `scontrol ping` does"
    )


def parameters(
    config: SlurmConfig, folders: Sequence[Path], work: Path, *, name: str, cwd: str, after: str
) -> dict[str, Any]:
    """Return what submitit's executor is told: sbatch's keys, and the lines before the command."""
    extra = {key.replace("_", "-"): value for key, value in config.extra.items() if value is not False}
    more: dict[str, Any] = {"output": f"{work}/%A_%a.txt", "chdir": cwd, "requeue": True}
    if after:
        more |= {"dependency": after, "kill-on-invalid-dep": "yes"}
    if config.reservation is not None:
        more["reservation"] = config.reservation
    return {
        "job_name": name,
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "nodes": config.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": config.cpus,
        "gpus_per_node": config.gpus or None,
        "mem": config.memory,
        "time": config.time,
        "signal_delay_s": config.grace,
        "wckey": None,
        "stderr_to_stdout": True,
        "use_srun": False,  # our own line names the job's log, which only the shell knows
        "setup": _setup(config, folders),
        "additional_parameters": more | extra,
    }


def text(config: SlurmConfig, folders: Sequence[Path], work: Path, *, cwd: str) -> str:
    """Return the batch script of an array that waits for nothing, as `submit` would hand it over."""
    from submitit.slurm.slurm import _make_sbatch_string

    values = parameters(config, folders, work, name="rlpipe", cwd=cwd, after="")
    command = _TASK.format(python=shlex.quote(sys.executable))
    return _make_sbatch_string(command=command, folder=work, map_count=len(folders), **values)


def _setup(config: SlurmConfig, folders: Sequence[Path]) -> list[str]:
    """Return the lines that choose the task's job, open its log and prepare the node."""
    lines = [
        f"jobs=({' '.join(shlex.quote(str(folder)) for folder in folders)})",
        "job=${jobs[$SLURM_ARRAY_TASK_ID]}",
        'exec >>"$job/log.txt" 2>&1',
        "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # srun of SLURM 22.05 to 23.02 takes it from nowhere else
    ]
    if config.setup:
        lines += ["trap 'echo \"setup failed: $BASH_COMMAND\"' ERR", "set -e", *config.setup, "set +e", "trap - ERR"]
    return lines


@contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Hide that this may itself be a job: sbatch would take its limits over. Where SLURM is stays known."""
    from submitit.helpers import clean_env

    where = {key: value for key, value in os.environ.items() if key in ("SLURM_CONF", "SLURM_CLUSTERS")}
    with clean_env():
        os.environ.update(where)
        yield


def _pauses() -> Iterator[float]:
    """Yield seconds to wait, doubling up to a minute, for as long as there is patience."""
    spent, pause = 0.0, 1.0
    while spent < PATIENCE:
        yield pause
        spent, pause = spent + pause, min(pause * 2, 60.0)


def _scripts(work: Path) -> list[Path]:
    """Return the scripts that were written but that no job id is known of."""
    return [path for path in work.glob(".submission_file_*.sh") if not path.is_symlink()]


def _forget(scripts: set[Path]) -> None:
    for script in scripts:
        script.unlink(missing_ok=True)


def _accepted(scripts: set[Path]) -> str | None:
    """Return the id of the job that runs one of the scripts, None where SLURM knows none or does not answer."""
    try:
        rows = ask("squeue", "--noheader", "--user", str(os.getuid()), "--format", "%F|%o").splitlines()
    except NoAnswer:
        return None
    known = {path: job for job, _, path in (row.partition("|") for row in rows)}
    return next((known[str(script)] for script in scripts if str(script) in known), None)


def test(text: str) -> None:
    """Let sbatch judge a script without submitting it. Raises NoAnswer and Refused with its words."""
    with _outside_of_any_job(), tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(text)
        file.flush()
        ask("sbatch", "--test-only", file.name)
