"""How close a plan's estimates come: each shipped experiment at toy scale, a few steps of it, and what they take.

    python benchmarks/estimates.py MODEL             all experiments, with a toy of the default shape as MODEL
    python benchmarks/estimates.py MODEL --only chat_dpo piqa_sft

MODEL is the folder of a trained toy (a run's `model/`). Every experiment makes its first steps from it, with its own
rows, rewards and evaluations, in a process of its own. What it takes is that process's time on the processor: the
wall's time on a quiet machine with one thread. Experiments whose rows or judges other runs make are left out.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from rlpipe.config.compose import compose
from rlpipe.core.paths import conf_dir
from rlpipe.run.check.subject import Subject
from rlpipe.sweep import estimate

STEPS = 8
LEFT_OUT = ("chat_judged", "chat_rlaif", "piqa_ppo")
"""Their judges, rows or reward models are made by runs of several minutes."""


def overrides(experiment: str, model: Path) -> list[str]:
    """Return the overrides of an experiment that starts from a folder's toy and makes a few steps."""
    toy = ("model=hf", f"model.source={model}", "model.dataset_source=sample", "model.learning_rate_scale=150")
    shape = ("model.parameters=910000", "model.context=512", "after=none", "hardware.device=cpu", "log.progress=false")
    chosen = [f"experiment={experiment}", *toy, *shape]
    trains = Subject(compose(*chosen)).trains
    return [*chosen, f"method.max_steps={STEPS}"] if trains else chosen


def truth(given: list[str], folder: Path) -> float:
    """Return the processor seconds of a run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "rlpipe", *given, f"run_dir='{folder}'"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a row for each experiment: what was estimated, what it took, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    names = [file.stem for file in sorted((conf_dir() / "experiment").glob("*.yaml"))]
    chosen = [name for name in names if not name.startswith("study_") and name not in LEFT_OUT]
    print("| experiment | estimated, s | took, s | ratio |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only or chosen:
            given = overrides(name, arguments.model.absolute())
            subject = Subject(compose(*given))
            found = estimate.time(subject, estimate.steps(subject), {}, gpu=False)
            took = truth(given, Path(folder, name))
            seconds = found.seconds if found is not None else float("nan")
            print(f"| {name} | {seconds:.0f} | {took:.0f} | {seconds / took:.2f} |", flush=True)


if __name__ == "__main__":
    main()
