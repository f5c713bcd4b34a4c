"""A model in shards on two nodes: one run, which a killed process ends, and which goes on from its checkpoint."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest


class Training:
    """Four steps of SFT on a model in shards; the first attempt loses its second process after a checkpoint."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self) -> None:
        from rlpipe.config.compose import compose
        from rlpipe.core import distributed
        from rlpipe.run.run import run
        from rlpipe.training.callbacks import StoreCheckpoints

        def dies(*_: object, **__: object) -> None:
            if distributed.rank() == 1 and not (self.folder / "died").exists():
                (self.folder / "died").write_text(str(time.time()))
                os.kill(os.getpid(), signal.SIGKILL)

        StoreCheckpoints.on_save = dies
        overrides = [
            *("model=blank", "model.layers=1", "method=sft", "dataset=smoltalk", "dataset.sample_size=32"),
            *("dataset.test_limit=2", "evaluation=none", "method.batch_size=4", "method.micro_batch_size=2"),
            *("method.max_length=64", "method.overlong=truncate", "method.max_steps=2", "checkpoint.every=1"),
            *("log.progress=false", "hardware.device=cpu", "hardware.sharding=fsdp2", f"run_dir={self.folder / 'run'}"),
        ]
        run(compose(*overrides), overrides)


@pytest.mark.slow
@pytest.mark.slurm
def test_a_model_in_shards_on_two_nodes_ends_with_a_killed_process_and_goes_on(study, tmp_path):
    made = study({"0": Training(tmp_path)}, nodes=2, cpus=2, memory="1900M")
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"0": "failed"}
    made.until(lambda: re.match(r"process 1 \(.+\): ended without a word", made.outcome("0").error), seconds=50)
    assert made.outcome("0").time - float((tmp_path / "died").read_text()) < 60
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: made.ended("0") == "ok")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [attempt["processes"] for attempt in manifest["attempts"]] == [2, 2]
    assert manifest["attempts"][1]["resumed_from"] == 1
