"""Train with every method, in one process or in several with their weights in shards: MODEL_FOLDER FOLDER [OTHER].

Writes, for each case, its losses and all its weights to FOLDER. Several processes also go on from checkpoints, their
own and those that one process made in OTHER, save a model, and make whole runs, one of which is broken off after a
checkpoint.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.training.offline import conftest as builders

CASES: dict[str, dict[str, Any]] = {
    "sft": {"count": 22},  # the last batch of an epoch has 6 rows
    "sft-bfloat16": {"model": {"precision": "bfloat16", "gradient_checkpointing": True}},
    "reward_model-lora": {"lora_rank": 4},
    "dpo": {},
    "dpo-asked": {"precompute_reference": False},
    "kto-lora": {"lora_rank": 4},
    "orpo": {},
    "simpo-lora": {"lora_rank": 4},
}
AGAIN = ("dpo-asked", "kto-lora")
"""What goes on from its first checkpoint."""
RUN = (
    *("model=blank", "model.layers=1", "method=dpo", "dataset=ultrafeedback", "dataset.sample_size=32"),
    *("dataset.test_limit=2", "dataset.train_limit=16", "evaluation=preference", "method.batch_size=4"),
    *("method.micro_batch_size=2", "method.max_length=160", "method.max_steps=3", "method.learning_rate=0.01"),
    *("checkpoint.every=2", "log.progress=false", "watch.every=2", "watch.limit=2", "watch.restore_best=true"),
    *("model.lora.rank=2", "hardware.device=cpu", "hardware.sharding=fsdp2"),
)


def main(folder: str, target: str, other: str = "") -> None:
    from transformers import set_seed

    from rlpipe.core import distributed

    distributed.start(on_cpu=True)
    for case in CASES:
        run = Path(target) / case
        trainer = train(case, Path(folder), run)
        keep(trainer, run / "weights.safetensors")
        if distributed.world_size() == 1:
            continue
        if case in AGAIN:
            for name, made in (("again", run), ("other", Path(other) / case)):
                set_seed(7)  # what was drawn in between makes no difference
                keep(train(case, Path(folder), run, start=made), run / f"{name}.safetensors")
        if case == "sft":
            save(trainer, run / "model")
    if distributed.world_size() > 1:
        make_runs(Path(target))
    distributed.finish()


def train(case: str, folder: Path, run: Path, start: Path | None = None, sharding: str = "fsdp2") -> Any:
    """Train a case on the model in `folder`; its losses go to `run`. It may go on from step 2 of another."""
    from rlpipe.config.kinds import Precision
    from rlpipe.config.schema import Sharding
    from rlpipe.core import distributed

    options = {"micro_batch_size": 2, "max_steps": 3, "every": 2, **CASES[case]}
    if "precision" in (model := options.get("model", {})):
        options["model"] = {**model, "precision": Precision(model["precision"])}
    trainer = builders.build_trainer(folder, run, case.partition("-")[0], sharding=Sharding(sharding), **options)
    trainer.train(resume_from_checkpoint=start and str(start / "checkpoints" / "checkpoint-2"))
    if distributed.is_main() and start is None:
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        (run / "losses.json").write_text(json.dumps(losses))
    return trainer


def keep(trainer: Any, file: Path) -> None:
    """Write all weights to a file."""
    from safetensors.torch import save_file

    from rlpipe.core import distributed
    from rlpipe.models.sharding import gathered

    weights = gathered(trainer.model.named_parameters(), kept=distributed.is_main())
    if distributed.is_main():
        save_file(weights, file)


def save(trainer: Any, folder: Path) -> None:
    """Save the model as a run does, in several files."""
    from rlpipe.core import distributed
    from rlpipe.models import export
    from rlpipe.models.base import Loaded

    export.FILE_SIZE = "40KB"
    loaded = Loaded(trainer.model, trainer.processing_class, "", sharded=True)
    if distributed.is_main():
        export.save(loaded, folder, "a card")
    else:
        export.help_saving(loaded)


class Broken(Exception):
    """What breaks a run off."""


def make_runs(folder: Path) -> None:
    """Make a run, and one that is broken off after its first checkpoint and goes on."""
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run
    from rlpipe.training.callbacks import StoreCheckpoints

    def breaks(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        raise Broken

    for name in ("run", "broken"):
        overrides = [*RUN, f"run_dir={folder / name}"]
        if name == "broken":
            original, StoreCheckpoints.on_save = StoreCheckpoints.on_save, breaks
            try:
                run(compose(*overrides), overrides)
            except Broken:
                StoreCheckpoints.on_save = original
        run(compose(*overrides), overrides)


if __name__ == "__main__":
    main(*sys.argv[1:])
