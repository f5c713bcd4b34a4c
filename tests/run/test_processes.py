"""A run of several processes, one of which is killed: the others end by themselves, and the run goes on exactly."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from rlpipe.core.files import hashes
from tests import warm
from tests.training.offline.test_sharded import difference

pytestmark = pytest.mark.slow

SMALL = (
    *("model=blank", "method=dpo", "dataset=ultrafeedback", "dataset.sample_size=48", "dataset.test_limit=4"),
    *("dataset.train_limit=22", "evaluation=none", "method.batch_size=8", "method.micro_batch_size=2"),
    *("method.max_length=200", "method.max_steps=6", "checkpoint.every=2", "log.every=1", "hardware.device=cpu"),
)
"""22 rows are 3 steps an epoch, the last of 6 rows: the checkpoint at step 4 lies inside the second epoch."""


def start(folder: Path, count: int = 2) -> list[warm.Process]:
    return warm.ranks(count, "rlpipe", *SMALL, f"run_dir={folder}")


def ended(processes: list[warm.Process]) -> list[int]:
    return [process.wait() for process in processes]


def kill(victim: int, processes: list[warm.Process], checkpoint: Path) -> None:
    """Kill one of the processes when a checkpoint stands; the others must end too, by themselves."""
    deadline = time.monotonic() + 200
    while not (checkpoint / "whole.json").exists():
        assert all(process.poll() is None for process in processes), processes[0].stderr
        assert time.monotonic() < deadline
        time.sleep(0.005)
    processes[victim].send_signal(signal.SIGKILL)
    codes = ended(processes)
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] != 0


def test_a_run_of_which_one_process_is_killed_after_the_other_ends_with_the_same_weights(tmp_path):
    whole, killed, alone = (tmp_path / name for name in ("whole", "killed", "alone"))
    assert ended(start(whole)) == [0, 0]
    for victim, step in ((1, 2), (0, 4)):
        kill(victim, start(killed), killed / "checkpoints" / f"checkpoint-{step}")
    shutil.copytree(killed, alone)
    assert ended(start(killed)) == [0, 0]
    assert hashes(killed / "model")["model.safetensors"] == hashes(whole / "model")["model.safetensors"]
    logged, other = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (killed, whole)
    )
    assert [row["step"] for row in logged] == list(range(1, 7))
    assert [row["loss"] for row in logged] == [row["loss"] for row in other]
    assert ended(start(alone, count=1)) == [0]
    assert difference(*(folder / "model" / "model.safetensors" for folder in (alone, whole))) < 1e-6
    notes = json.loads((alone / "manifest.json").read_text())["notes"]
    assert any(note.startswith("1 in place of 2 processes go on from step 4: sums") for note in notes)
