"""How long the rehearsal of a large sweep takes, as a user waits for it: `python benchmarks/rehearsal.py`.

The whole command is timed, from the start of Python to the plan: `-m … until=check` composes and checks every arm,
finds the stages that they need and starts nothing. A bare command of one arm shows what of that is Python's own start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

STUDY = ("after=sft", "dataset=ultrafeedback", "until=check")
GRIDS = {
    1: ("method=dpo", "seed=0"),
    20: ("method=dpo,orpo", "seed=range(0,10)"),
    200: ("method=dpo,kto,orpo,simpo", "seed=range(0,10)", "method.learning_rate=1e-5,2e-5,3e-5,4e-5,5e-5"),
}


def measure(overrides: tuple[str, ...]) -> tuple[float, float]:
    """Return the wall-clock and the processor seconds of a rehearsal."""
    began, before = time.monotonic(), os.times()
    command = [sys.executable, "-m", "rlpipe", "-m", *overrides, *STUDY]
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, busy


def main() -> None:
    print(f"{'arms':>5} {'seconds':>8} {'processor seconds':>18}")
    for arms, grid in GRIDS.items():
        seconds, busy = measure(grid)
        print(f"{arms:>5} {seconds:>8.1f} {busy:>18.1f}", flush=True)


if __name__ == "__main__":
    main()
