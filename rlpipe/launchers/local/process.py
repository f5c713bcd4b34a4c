"""A job's process on this machine: starting it, finding it again from any process, ending it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rlpipe.core.errors import LaunchError
from rlpipe.core.files import json_text, read_json, write_atomic
from rlpipe.core.shapes import Shape
from rlpipe.launchers.base import JOB, job_environment
from rlpipe.launchers.warm import Child, Start, Warm
from rlpipe.records import heartbeat

FILE = "process.json"


_SHAPE: Shape = {"pid": int, "born?": str, "machine": str, "gpu?": str, "submission": int}


@dataclass(frozen=True)
class Process:
    """One attempt's process, as its job's folder knows it."""

    pid: int
    born: str | None
    """What tells it from a later process with the same id."""
    machine: str
    gpu: str | None
    submission: int
    """Which submission of the job it answers."""

    @property
    def runs(self) -> bool:
        """Whether it is still there, as far as can be told from this machine."""
        return self.machine == heartbeat.machine() and self.born is not None and heartbeat.born(self.pid) == self.born

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all that it has started."""
        if self.runs:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def start(folder: Path, cwd: Path, gpu: str | None, submission: int, warm: Warm) -> tuple[Child, Process]:
    """Fork a frozen job into a session of its own; what it says goes to its log.txt. Raises OSError."""
    environment = job_environment(None) | ({VISIBLE: gpu} if gpu is not None else {})
    log = str(folder / "log.txt")
    child = warm.start(Start(JOB, (str(folder),), str(cwd), environment, (os.devnull, log, log)))
    process = Process(child.pid, heartbeat.born(child.pid), heartbeat.machine(), gpu, submission)
    write_atomic(folder / FILE, json_text(asdict(process)))
    return child, process


def of(folder: Path) -> Process | None:
    """Return the process of a job's newest attempt, None when it never began."""
    row = read_json(folder / FILE, "delete it: the job then counts as one that no process works on", _SHAPE)
    if row is None:
        return None
    return Process(row["pid"], row.get("born"), row["machine"], row.get("gpu"), row["submission"])


def ending(code: int | None) -> str:
    """Say how a process ended, by its exit code; None for one whose code nobody knows."""
    if code is None:
        return "its process is gone (killed?)"
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in [number.value for number in signal.Signals] else str(-code)
    return f"killed by {name}" + (" (no memory left?)" if name == "SIGKILL" else "")


VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus() -> list[str]:
    """Return the names of the GPUs that jobs may use, as `CUDA_VISIBLE_DEVICES` takes them.

    An exported list counts, in its order; else those that nvidia-smi knows. Raises LaunchError when it fails.
    """
    exported = os.environ.get(VISIBLE)
    if exported is not None:
        named = [name.strip() for name in exported.split(",") if name.strip()]
        # CUDA itself stops reading at the first name that is none
        return named[: named.index("-1")] if "-1" in named else named
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    command = [smi, "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (subprocess.SubprocessError, OSError) as error:
        raise LaunchError(
            "",
            f"nvidia-smi is there and does not say which GPUs there are ({error})",
            f"fix the driver, or say it: export {VISIBLE}=0,1 (empty for none)",
        ) from error
    return [line.strip() for line in answer.splitlines() if line.strip().isdigit()]


def at_once(requested: int | None, devices: list[str]) -> int:
    """Return how many jobs run at the same time: as many as asked, one a GPU, or one for every two cores."""
    if requested is not None:
        return requested
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return len(devices) or max(1, cores // 2)


def least_used(devices: list[str], used: Iterable[str | None]) -> str | None:
    """Return the GPU that the fewest jobs use, the first of them; None where there is none."""
    taken = list(used)
    return min(devices, key=taken.count) if devices else None
