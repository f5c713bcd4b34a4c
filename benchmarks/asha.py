"""What ending hopeless arms early costs and saves: the same 27 arms of the toy's DPO as a grid and by asha, on SLURM.

    python -m benchmarks.asha                 # on the SLURM at hand
    python -m benchmarks.asha --own           # on one of its own, in a temporary folder
    python -m benchmarks.asha --launcher local

The grid runs all arms to their end and finds the winner by the watched rows; the second sweep is to find the same one.
It prints a table of the arms, and which share of the grid's steps the second sweep took.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rlpipe.core.errors import LaunchError
from rlpipe.records.record import read_result
from rlpipe.records.sweep import Job, Sweep
from rlpipe.sweep.criterion import KEPT
from tests.launchers.slurm.cluster import Cluster

FIELDS = ("method.learning_rate", "method.beta", "method.loss")
ARMS = ("method.learning_rate=1e-5,1e-4,1e-3", "method.beta=0.03,0.1,0.3", "method.loss=sigmoid,hinge,ipo")
RUN = (
    *("method=dpo", "method.batch_size=8", "dataset=ultrafeedback", "evaluation=preference"),
    *("hardware.device=cpu", "log.progress=false"),
)
PLACES = {
    "slurm": ("gpus=0", "cpus=1", "memory=1500M", "time=60", "grace=60"),
    "local": ("jobs=2",),
}


def sweep(folder: Path, launcher: str, *overrides: str) -> Sweep:
    """Run the arms to where they end, by the command line."""
    place = [f"hydra/launcher={launcher}", *(f"hydra.launcher.{one}" for one in PLACES[launcher])]
    chosen = [*RUN, *ARMS, "watch.metric=preference/score", *overrides, f"hydra.sweep.dir={folder}"]
    command = [sys.executable, "-m", "rlpipe", "-m", *place, *chosen]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LaunchError("", done.stderr, "")
    return Sweep.load(folder)


def steps(job: Job) -> int:
    return int((read_result(Path(job.run_dir)) or {}).get("cost", {}).get("steps", 0))


def kept(job: Job) -> float | None:
    """Return the watched number that an arm ended with; None for one that was pruned."""
    return (read_result(Path(job.run_dir)) or {}).get("metrics", {}).get(KEPT)


def place(job: Job) -> tuple[str, ...]:
    """Return where an arm stands in the grid: asha numbers arms in another order."""
    return tuple(job.fields[field] for field in FIELDS)


def winner(jobs: Sequence[Job]) -> float:
    return max(value for job in jobs if (value := kept(job)) is not None)


def show(grid: Sweep, asha: Sweep) -> None:
    print(f"| {' | '.join(field.rpartition('.')[2] for field in FIELDS)} | grid: score | asha: score | asha: steps |")
    print("| ---: | ---: | --- | ---: | ---: | ---: |")
    same = {place(job): job for job in asha.arms}
    for ours in sorted(grid.arms, key=lambda job: -(kept(job) or 0.0)):
        other = same[place(ours)]
        ended = "pruned" if (value := kept(other)) is None else f"{value:.3f}"
        fields = " | ".join(place(ours))
        print(f"| {fields} | {kept(ours):.3f} | {ended} | {steps(other)} |")
    whole, taken = (sum(map(steps, one.arms)) for one in (grid, asha))
    print(f"asha took {taken} of the grid's {whole} steps ({taken / whole:.0%})")
    found, best = winner(asha.arms), winner(grid.arms)
    print(f"it {'reached' if found == best else 'missed'} the grid's best score: {found:.3f}, {best:.3f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--own", action="store_true", help="start a SLURM for this, as the tests do")
    parser.add_argument("--launcher", choices=tuple(PLACES), default="slurm")
    parser.add_argument("--steps", type=int, default=96, help="of an arm; rungs are at 1/8 and 3/8 of them")
    parser.add_argument("overrides", nargs="*", help="of every run")
    chosen = parser.parse_args(arguments)
    with ExitStack() as context:
        if chosen.own:
            cluster = Cluster()
            context.callback(cluster.stop)
            cluster.start()
            os.environ.update(cluster.environment)
        folder = Path(context.enter_context(tempfile.TemporaryDirectory()))
        os.environ["RLPIPE_STORE"] = str(folder / "store")
        length = f"method.max_steps={chosen.steps}"
        grid = sweep(folder / "grid", chosen.launcher, length, f"watch.every={chosen.steps}", *chosen.overrides)
        rungs = ("hydra/sweeper=asha", f"watch.every={chosen.steps // 8}")
        asha = sweep(folder / "asha", chosen.launcher, length, *rungs, *chosen.overrides)
        show(grid, asha)


if __name__ == "__main__":
    main()
