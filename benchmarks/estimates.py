"""How close a plan's estimates come: each shipped experiment at toy scale, a few steps of it, and what they take.

    python benchmarks/estimates.py MODEL             all experiments, with a toy of the default shape as MODEL
    python benchmarks/estimates.py MODEL --only chat_dpo piqa_sft

MODEL is the folder of a trained toy (a run's `model/`). Every experiment makes its first steps from it, with its own
rows, rewards and evaluations, in a process of its own. What it takes is that process's time on the processor: the
wall's time on a quiet machine with one thread. Reward models and rows that other runs make are made small before.
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
MADE = {
    "reward_model": ("method=reward_model", "dataset=ultrafeedback", "method.max_steps=2", "evaluation=none"),
    "pairs": (
        *("method=ai_feedback", "dataset=ultrafeedback", "reward=length", "reward.length.words=5", "method.samples=2"),
        *("method.sampling.max_tokens=16", "method.cut=keep", "dataset.sample_size=400", "evaluation=none"),
    ),
}
"""What some experiments have made by other runs: a few steps of these will do, for their weights take as long."""


def given(made: Path, model: Path) -> dict[str, list[str]]:
    """Return the overrides by which experiments take what lies in a folder, in place of what others would make."""
    judge = ["reward.reward_model.stage=[]", f"reward.reward_model.model={made / 'reward_model' / 'model'}"]
    return {
        "piqa_ppo": judge,
        "chat_judged": [*judge, "evaluation.win_rate.stage=[]", f"evaluation.win_rate.model={model}"],
        "chat_rlaif": ["dataset.stage=[]", f"dataset.source={made / 'pairs'}"],
    }


def start(model: Path) -> list[str]:
    """Return the overrides that have a run start from a folder's toy."""
    toy = ("model=hf", f"model.source={model}", "model.dataset_source=sample", "model.learning_rate_scale=150")
    shape = ("model.parameters=910000", "model.context=512", "after=none", "hardware.device=cpu", "log.progress=false")
    return [*toy, *shape]


def overrides(experiment: str, model: Path, made: Path) -> list[str]:
    """Return the overrides of an experiment that starts from a folder's toy and makes a few steps."""
    chosen = [f"experiment={experiment}", *start(model), *given(made, model).get(experiment, [])]
    trains = Subject(compose(*chosen)).trains
    return [*chosen, f"method.max_steps={STEPS}"] if trains else chosen


def truth(asked: list[str], folder: Path) -> float:
    """Return the processor seconds of a run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "rlpipe", *asked, f"run_dir='{folder}'"]
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
    chosen = arguments.only or [name for name in names if not name.startswith("study_")]
    model = arguments.model.absolute()
    print("| experiment | estimated, s | took, s | ratio |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "made")
        if given(made, model).keys() & set(chosen):
            for name, asked in MADE.items():
                truth([*start(model), *asked], made / name)
        for name in chosen:
            asked = overrides(name, model, made)
            subject = Subject(compose(*asked))
            found = estimate.time(subject, estimate.steps(subject), {}, gpu=False)
            took = truth(asked, Path(folder, name))
            seconds = found.seconds if found is not None else float("nan")
            print(f"| {name} | {seconds:.0f} | {took:.0f} | {seconds / took:.2f} |", flush=True)


if __name__ == "__main__":
    main()
