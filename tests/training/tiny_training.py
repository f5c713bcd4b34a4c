"""A training of a second, for tests of what hangs into a trainer. As a script: `tiny_training FOLDER KILLS`."""

import gc
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments

from rlpipe.config.schema import CheckpointConfig, RunConfig
from rlpipe.core.progress import TrainingProgress
from rlpipe.records import checkpoints
from rlpipe.training import callbacks


class Regression(torch.nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.layer = torch.nn.Linear(4, width)
        self.dropout = torch.nn.Dropout(0.2)

    def forward(self, x, y):
        return {"loss": ((self.dropout(self.layer(x)).mean(dim=1) - y) ** 2).mean()}


def rows(count=48, bad=()):
    generator = torch.Generator().manual_seed(0)
    return [
        {"x": torch.randn(4, generator=generator), "y": torch.tensor(float("nan") if i in bad else float(i % 3))}
        for i in range(count)
    ]


class Silent:
    """What a record or a tracker is to a callback, without doing anything."""

    artifacts = None

    def log_metrics(self, step, numbers): ...

    def may_write(self): ...

    def saved_history(self):
        return {}

    def log(self, numbers, step): ...


class Never:
    requested = False


def trainer(folder, *, record=None, tracker=None, stop=None, progress=None, data=None, keep=2, width=8, **arguments):
    torch.manual_seed(0)
    model = Regression(width)
    settings = {
        "max_steps": 12,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "save_steps": 3,
        "logging_steps": 2,
        "learning_rate": 0.05,
        "use_cpu": True,
        "report_to": [],
        "seed": 3,
        "disable_tqdm": True,
    }
    config = RunConfig(checkpoint=CheckpointConfig(keep=keep))
    hooks = callbacks.standard(
        config, record or Silent(), tracker or Silent(), stop or Never(), progress or TrainingProgress(enabled=False)
    )
    return Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(folder), **{**settings, **arguments}),
        train_dataset=data or rows(),
        callbacks=hooks,
    )


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def run(target):
    """Go on from the newest whole checkpoint to the end, saving after every step."""
    # wide enough that most of the time goes into writing checkpoints, which is where a kill should fall
    made = trainer(target / "checkpoints", save_steps=1, max_steps=40, width=50_000)
    newest = checkpoints.newest_whole(target / "checkpoints")
    checkpoints.clear_after(target / "checkpoints", newest)
    print("from", checkpoints.step_of(newest) if newest else 0, flush=True)
    callbacks.train(made, newest)
    torch.save(made.model.state_dict(), target / "final.pt")


def killed(target, seconds):
    """Run in a child, which is killed `seconds` after it began to write a checkpoint."""
    known = set(checkpoints.all_checkpoints(target / "checkpoints"))
    child = os.fork()
    if child == 0:
        run(target)
        os._exit(0)
    while (
        not set(checkpoints.all_checkpoints(target / "checkpoints")) - known and os.waitpid(child, os.WNOHANG)[0] == 0
    ):
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    gc.freeze()  # else most of a child's time goes into walking over torch's modules
    draw = random.Random(0)
    for _ in range(kills):
        killed(folder, draw.uniform(0.0, 0.1))
    run(folder)
