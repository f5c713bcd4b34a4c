"""The command that runs a frozen job on one node of its own: plain, or by torchrun where the run has several processes.

torchrun itself leaves requests to stop alone (it would give its processes 30 seconds); they go to each of its
processes directly, and those agree among themselves on the step after which they save.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rlpipe.config.launchers import SlurmConfig
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
        *("-m", "torch.distributed.run"),
        *(f"--nnodes={config.nodes}", f"--nproc-per-node={config.processes_per_node}"),
        f"--node-rank={environment.get('SLURM_NODEID', '0')}",
        *(f"--master-addr={first_node}", f"--master-port={port(environment['SLURM_JOB_ID'])}"),
        *("--max-restarts=0", "--signals-to-handle=SIGHUP"),
    ]
    return job_command(folder, *torchrun)


def port(job_id: str) -> int:
    """Return the port where the processes of a job meet: the same on all nodes, different for jobs of one time."""
    return _PORTS[int(job_id) * 7 % len(_PORTS)]


def start(config: SlurmConfig, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a job's work. Neither it nor anything it starts is touched by SIGUSR2, torchrun not by SIGTERM either."""
    ignored = [signal.SIGUSR2, *([signal.SIGTERM] if several(config) else [])]

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    return subprocess.Popen(
        command(config, folder, environment),
        env=job_environment(current_job_id(environment)),
        preexec_fn=ignore,  # this process has one thread
    )


def ask_to_stop(config: SlurmConfig, child: subprocess.Popen[bytes]) -> None:
    """Ask a job's work to stop: its one process, or all that torchrun started on this node."""
    if not several(config):
        child.send_signal(signal.SIGTERM)
        return
    import psutil

    started = False
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(child.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if _is_rank(process):
                    process.send_signal(signal.SIGTERM)
                    started = True
    if not started:  # nothing has begun
        child.kill()


def _is_rank(process: object) -> bool:
    """Whether torchrun itself started a process: what a rank starts has its number in its environment too."""
    return "LOCAL_RANK" in process.environ() and "LOCAL_RANK" not in process.parent().environ()  # type: ignore[attr-defined]
