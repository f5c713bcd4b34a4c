"""Train a method on the small model in a process of its own: MODEL_FOLDER RUN_DIR METHOD [key=value …].

Prints a JSON line with the losses and the weights' hash; goes on from the newest checkpoint. With
`pause` each step takes that many seconds longer, so that a test can kill the process in between.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path


def main(folder: str, run_dir: str, name: str, *settings: str) -> None:
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint

    spec = importlib.util.spec_from_file_location("shared_builders", Path(__file__).with_name("conftest.py"))
    builders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builders)
    options = {key: json.loads(value) for key, value in (setting.split("=") for setting in settings)}
    pause = options.pop("pause", 0)

    class Pause(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            time.sleep(pause)

    trainer = builders.build_trainer(Path(folder), Path(run_dir), name, callbacks=[Pause()], **options)
    checkpoints = Path(run_dir) / "checkpoints"
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.exists() else None)
    if trainer.is_world_process_zero():
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        print(json.dumps({"losses": losses, "weights": builders.digest(trainer.model)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
