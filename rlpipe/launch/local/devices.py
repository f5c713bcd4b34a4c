"""Which GPUs there are to hand out, and how many jobs this machine takes at once. Imports no torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable

from rlpipe.core.errors import LaunchError

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
            f"nvidia-smi is there and does not say which GPUs there are ({error})\n"
            f"    → mend the driver, or say it: export {VISIBLE}=0,1 (empty for none)"
        ) from error
    return [line.strip() for line in answer.splitlines() if line.strip().isdigit()]


def at_once(asked: int | None, devices: list[str]) -> int:
    """Return how many jobs run at the same time: as many as asked, one a GPU, or one for every two cores."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return len(devices) or max(1, cores // 2)


def least_used(devices: list[str], used: Iterable[str | None]) -> str | None:
    """Return the GPU that the fewest jobs use, the first of them; None where there is none."""
    taken = list(used)
    return min(devices, key=taken.count) if devices else None
