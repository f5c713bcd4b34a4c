"""What the SLURM launcher costs: submission, overhead over a bare sbatch, and how soon a failure is told.

    python -m benchmarks.slurm_overhead                 # on the SLURM at hand
    python -m benchmarks.slurm_overhead --own           # on one of its own, in a temporary folder

submission   from typing the command to its return, and of it the time that handing over to SLURM takes
overhead     the same run by sbatch with one line of srun, and through the launcher, in turns
failure      from the moment that a job's processes are killed, or that it raises, to the launcher's word of it
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import cloudpickle

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.slurm.command import ask
from rlpipe.launchers.slurm.launcher import SlurmLauncher
from rlpipe.records.sweep import Job, Kind, Sweep
from tests.launchers.slurm.cluster import Cluster

SMALL = ("gpus=0", "cpus=1", "memory=1500M", "time=30", "grace=60")
RUN = (
    *("model=blank", "dataset=ultrafeedback", "dataset.sample_size=32", "method=dpo", "method.max_steps=2"),
    *("method.batch_size=4", "method.micro_batch_size=4", "evaluation=none", "log.progress=false"),
    "hardware.device=cpu",
)


def submission(arms: int, folder: Path) -> None:
    later = ["hydra.launcher.wait=false", "+hydra.launcher.extra.begin=now+1hour"]
    for name, more in (("one stage", ["after=[method=sft,dataset=smoltalk,seed=0]"]), ("a stage each", ["after=sft"])):
        place = folder / name.replace(" ", "-")
        worked = processor()
        took = timed(lambda place=place, more=more: launch(place, *later, *more, f"seed=range({arms})"))
        worked = processor() - worked
        sweep = Sweep.load(place)
        again = Sweep.create(folder / f"{place.name}-again", **{**sweep.data, "jobs": [], "arms": []})
        again.add(sweep.jobs)
        handing = timed(lambda again=again: SlurmLauncher(again).submit(again.jobs))
        print(f"submission of {arms} arms, {name} ({len(sweep.jobs)} jobs, {len(sweep.submissions)} arrays)")
        print(f"    {took:.1f} s in all, {worked:.1f} s of them at work; {handing:.2f} s handing over")
        for one in (sweep, again):
            SlurmLauncher(one).cancel(one.jobs)


def overhead(rounds: int, folder: Path) -> None:
    launch(folder / "warm")
    bare, ours = [], []
    for number in range(rounds):
        script = folder / f"{number}.sh"
        words = " ".join([sys.executable, "-m", "rlpipe", *RUN, f"run_dir={folder}/bare{number}"])
        asked = "--cpus-per-task=1 --mem=1500M --time=30 --output=/dev/null"
        done = folder / f"{number}.done"
        script.write_text(f"#!/bin/bash\n#SBATCH {asked}\nsrun {words}\ntouch {done}\n")
        bare.append(timed(lambda script=script, done=done: _sbatch(script, done)))
        ours.append(timed(lambda number=number: launch(folder / f"ours{number}")))
    more = statistics.median(b - a for a, b in zip(bare, ours, strict=True))
    print(
        f"one run: sbatch {statistics.median(bare):.1f} s, launcher {statistics.median(ours):.1f} s, more {more:.1f} s"
    )


def _sbatch(script: Path, done: Path) -> None:
    """Submit a script and wait for its last line: `sbatch --wait` itself looks only every ten seconds or so."""
    ask("sbatch", str(script))
    while not done.exists():
        time.sleep(0.05)


def failure(rounds: int, folder: Path) -> None:
    told: dict[str, list[float]] = {"raised": [], "all its processes killed": []}
    for number in range(rounds):
        for name, work in (("raised", _raise), ("all its processes killed", _sleep)):
            sweep = _one(folder / f"{name.replace(' ', '-')}{number}", work)
            launcher = SlurmLauncher(sweep)
            launcher.submit(sweep.jobs)
            job = sweep.jobs[0]
            began = _struck(sweep, job) if work is _sleep else 0.0
            while (outcome := sweep.outcome(job)) is None or outcome.ended.value != "failed":
                launcher.statuses(sweep.jobs)
                time.sleep(0.2)
            told[name].append(time.time() - (began or outcome.time))
    for name, seconds in told.items():
        print(f"failure told, {name}: after {statistics.median(seconds):.1f} s (at most {max(seconds):.1f} s)")


def _one(folder: Path, work: Callable[[], None]) -> Sweep:
    settings = {"gpus": 0, "cpus": 1, "memory": "300M", "time": "30", "grace": 60}
    sweep = Sweep.create(folder, launcher="slurm", settings=settings, cwd=os.getcwd(), code={})
    job = Job("0", Kind.arm, (), str(folder / "0"))
    sweep.job_folder(job).mkdir(parents=True)
    (sweep.job_folder(job) / "job.pkl").write_bytes(cloudpickle.dumps(work))
    sweep.add([job])
    return sweep


def _raise() -> None:
    raise ValueError("boom")


def _sleep() -> None:
    time.sleep(600)


def _struck(sweep: Sweep, job: Job) -> float:
    """Kill a job's processes, SLURM's own among them, once it works, and return when."""
    while (outcome := sweep.outcome(job)) is None:
        time.sleep(0.1)
    time.sleep(1)
    task = Path(f"/proc/{outcome.pid}/stat").read_text().rpartition(") ")[2].split()[1]
    for pid in (int(task), outcome.pid):
        os.kill(pid, signal.SIGKILL)
    return time.time()


def launch(folder: Path, *overrides: str) -> None:
    """Run a sweep by the command line."""
    chosen = ["hydra/launcher=slurm", *(f"hydra.launcher.{one}" for one in SMALL), f"hydra.sweep.dir={folder}"]
    command = [sys.executable, "-m", "rlpipe", "-m", *chosen, *RUN, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LaunchError("", done.stderr, "")


def processor() -> float:
    """Return the processor time in seconds of all programs that were run so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--own", action="store_true", help="start a SLURM for this, as the tests do")
    parser.add_argument("--arms", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    with ExitStack() as context:
        if asked.own:
            cluster = Cluster()
            cluster.largest_array = 1001
            context.callback(cluster.stop)
            cluster.start()
            os.environ.update(cluster.environment)
        folder = Path(context.enter_context(tempfile.TemporaryDirectory()))
        os.environ["RLPIPE_STORE"] = str(folder / "store")
        print(ask("sbatch", "--version").strip())
        submission(asked.arms, folder)
        overhead(asked.rounds, folder)
        failure(asked.rounds, folder)


if __name__ == "__main__":
    main()
