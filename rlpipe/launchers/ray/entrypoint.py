"""A job in Ray's words: the shell text that it is, and what it is to have."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from rlpipe.config.launchers import RayConfig
from rlpipe.launchers.environment import kept
from rlpipe.launchers.units import megabytes
from rlpipe.records.sweep import Job, Sweep

NOT_SHARED = 66
"""The exit code of a job whose node does not see the sweep's folder."""


def submission(sweep: Sweep, config: RayConfig, job: Job, ray_id: str) -> dict[str, Any]:
    """Return a job in the words of Ray's `submit_job`, without its id."""
    return {
        "entrypoint": text(sweep, config, job, ray_id),
        "entrypoint_num_cpus": config.cpus,
        "entrypoint_num_gpus": config.gpus,
        "entrypoint_memory": None if config.memory is None else int(megabytes(config.memory) * 1024**2),
        "entrypoint_resources": dict(config.resources) or None,
        "metadata": {"rlpipe_sweep": str(sweep.folder), "rlpipe_job": job.key},
        # Ray kills what has not stopped three seconds after it was asked to, if it is not told otherwise.
        "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(config.grace)}},
    }


def text(sweep: Sweep, config: RayConfig, job: Job, ray_id: str) -> str:
    """Return the shell text of a job: it checks that the node sees the folder, opens the job's log, and is the task."""
    folder = sweep.job_folder(job)
    frozen, log = shlex.quote(str(folder / "job.pkl")), shlex.quote(str(folder / "log.txt"))
    missing = shlex.quote(f"{folder} is not on this node: name a hydra.sweep.dir on a file system that all nodes share")
    pythonpath = kept(sweep, "ray").get("PYTHONPATH")
    python = config.python or shlex.quote(sys.executable)
    lines = [
        f"test -r {frozen} || {{ echo {missing} >&2; exit {NOT_SHARED}; }}",
        "set -e",
        f"cd {shlex.quote(sweep.data['cwd'])}",
        f"exec >>{log} 2>&1",
        *([f"export PYTHONPATH={shlex.quote(pythonpath)}"] if pythonpath else []),
        *config.setup,
        f"exec {python} -u -m rlpipe.launchers.ray.task {shlex.quote(str(folder))} {shlex.quote(ray_id)}",
    ]
    return "\n".join(lines)
