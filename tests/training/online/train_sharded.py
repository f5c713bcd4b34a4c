"""Train on-policy, in one process or in several with their weights in shards: MODEL_FOLDER FOLDER [OTHER].

Writes, for each case, its losses and all its weights to FOLDER. Several processes also go on from checkpoints, their
own and those that one process made in OTHER, and make a whole run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rlpipe.methods.ppo import ValueFrom
from tests.training.offline.train_sharded import keep
from tests.training.online import training

CASES: dict[str, dict[str, Any]] = {
    "rloo": {"sync_reference": 2, "kl_coef": 0.1, "epochs_per_batch": 1},
    "grpo-lora": {"lora_rank": 4, "kl_coef": 0.1},
    "ppo": {},
    "ppo-head": {"value": ValueFrom.head},
}
AGAIN = ("rloo", "ppo")
"""What goes on from its first checkpoint, which lies inside the passes over a batch of rollouts."""
STEP = 3
RUN = (
    *("model=blank", "model.layers=1", "method=ppo", "dataset=countdown", "dataset.sample_size=32", "reward=countdown"),
    *("dataset.test_limit=3", "evaluation=accuracy", "method.batch_size=8", "method.max_steps=1", "watch.every=1"),
    *("watch.limit=3", "method.sampling.max_tokens=4", "method.max_length=128", "log.progress=false"),
    *("method.kl_coef=0.1", "hardware.device=cpu", "hardware.sharding=fsdp2"),
)


def main(folder: str, target: str, other: str = "") -> None:
    from rlpipe.config.compose import compose
    from rlpipe.core import distributed
    from rlpipe.run.run import run as run_all

    distributed.start(on_cpu=True)
    for case in CASES:
        run = Path(target) / case
        keep(train(case, Path(folder), run), run / "weights.safetensors")
        if distributed.world_size() > 1 and case in AGAIN:
            for name, made in (("again", run), ("other", Path(other) / case)):
                keep(train(case, Path(folder), run, start=made), run / f"{name}.safetensors")
    if distributed.world_size() > 1:
        overrides = [*RUN, f"run_dir={Path(target) / 'run'}"]
        run_all(compose(*overrides), overrides)
    distributed.finish()


def train(case: str, folder: Path, run: Path, start: Path | None = None) -> Any:
    """Train a case on the model in `folder`; its losses go to `run`. It may go on from a checkpoint of another."""
    from torch import nn

    from rlpipe.core import distributed

    # Completions end at different lengths, and processes have different numbers of micro-batches.
    options = {"sampling": {"max_tokens": 12, "stop": ["a", "e", "i", "o", "u"]}, "micro_batch_tokens": 96}
    options |= {"every": STEP, "max_steps": 5, "sharding": "fsdp2", **CASES[case]}
    # With AdamW's own, gradients that cancel but for rounding make steps as large as all others.
    options["extra"] = {"adam_epsilon": 1e-3}
    trainer = training.build(folder, run, case.partition("-")[0], **options)
    for module in trainer.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    trainer.train(resume_from_checkpoint=start and str(start / "checkpoints" / f"checkpoint-{STEP}"))
    if distributed.is_main() and start is None:
        rows = [row for row in trainer.state.log_history if "loss" in row]
        numbers = {name: [row[name] for row in rows] for name in ("loss", "grad_norm", "entropy")}
        (run / "losses.json").write_text(json.dumps(numbers))
    return trainer


if __name__ == "__main__":
    main(*sys.argv[1:])
