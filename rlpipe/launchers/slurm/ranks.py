"""The command that runs a frozen job on one node of its own: plain, or by torchrun for a run of several processes."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rlpipe.config.launchers import SlurmConfig
from rlpipe.launchers import work
from rlpipe.launchers.base import job_command, job_environment
from rlpipe.launchers.slurm.command import current_job_id

_PORTS = range(20000, 32000)
"""Below those that Linux hands out by itself (32768 and up)."""


def several(config: SlurmConfig) -> bool:
    """Whether a job's run has more than one process."""
    return config.nodes * config.processes_per_node > 1


def command(config: SlurmConfig, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Return what runs a frozen job on this node of a SLURM job, whose `environment` says which node it is."""
    container = shlex.split(config.container) if config.container else []
    python = [*container, "python" if container else sys.executable, "-u"]
    if not several(config):
        return job_command(folder, *python)
    first_node = environment.get("SLURM_LAUNCH_NODE_IPADDR") or environment["SLURMD_NODENAME"]
    torchrun = [
        *python,
        *work.TORCHRUN,
        *(f"--nnodes={config.nodes}", f"--nproc-per-node={config.processes_per_node}"),
        f"--node-rank={environment.get('SLURM_NODEID', '0')}",
        *(f"--master-addr={first_node}", f"--master-port={port(environment['SLURM_JOB_ID'])}"),
    ]
    return job_command(folder, *torchrun)


def port(job_id: str) -> int:
    """Return the port where the processes of a job meet: the same on all nodes, different for jobs of one time."""
    return _PORTS[int(job_id) * 7 % len(_PORTS)]


def start(config: SlurmConfig, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a job's work. Neither it nor anything it starts is touched by SIGUSR2, torchrun not by SIGTERM either."""
    ignored = [signal.SIGUSR2, *([signal.SIGTERM] if several(config) else [])]
    job_id = current_job_id(environment)
    return work.start(command(config, folder, environment), job_environment(job_id), ignored)
