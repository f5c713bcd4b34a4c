"""A job's work as a child process: plain, or the processes of one run that torchrun starts on this node.

torchrun itself leaves requests to stop alone (it would give its processes 30 seconds); they go to each of its
processes directly, and those agree among themselves on the step after which they save.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rlpipe.launchers.base import job_command, job_environment

TORCHRUN = ("-m", "torch.distributed.run", "--max-restarts=0", "--signals-to-handle=SIGHUP")
"""What comes behind `python`, before where its processes meet and how many there are."""


def start(
    command: Sequence[str], environment: Mapping[str, str], ignored: Sequence[signal.Signals]
) -> subprocess.Popen[bytes]:
    """Start a job's work. Neither it nor anything it starts is touched by `ignored` until it listens itself."""

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    return subprocess.Popen(command, env=environment, preexec_fn=ignore)  # this process has one thread


def start_here(folder: Path, python: Sequence[str], processes: int, job_id: str) -> subprocess.Popen[bytes]:
    """Start the work of a job's folder on this one node: one process, or as many as torchrun is to start."""
    several = processes > 1
    torchrun = [*TORCHRUN, "--standalone", f"--nproc-per-node={processes}"] if several else []
    command = job_command(folder, *python, "-u", *torchrun)
    return start(command, job_environment(job_id), [signal.SIGTERM] if several else [])


def ask_to_stop(child: subprocess.Popen[bytes], several: bool) -> None:
    """Ask a job's work to stop: its one process, or all that torchrun started on this node."""
    if not several:
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
