"""Killed runs, and runs of two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("train_small.py")
ROOT = Path(__file__).resolve().parents[3]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
pytestmark = pytest.mark.slow


def start(launcher: list[str], *arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def result(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(next(line for line in reversed(out.splitlines()) if line.startswith("{")))


@pytest.mark.parametrize("name", ["sft", "reward_model", "dpo", "orpo", "simpo"])
def test_two_processes_equal_one_with_twice_the_accumulation(small_model, tmp_path, name):
    settings = ("micro_batch_size=2", "epochs=2")
    two = result(start(TORCHRUN, str(small_model), str(tmp_path / "two"), name, *settings))
    one = result(start([], str(small_model), str(tmp_path / "one"), name, *settings))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert len(one["losses"]) == 6


def test_two_processes_resume_past_the_first_epoch(small_model, tmp_path):
    settings = ("sft", "micro_batch_size=2", "every=4")
    whole = result(start(TORCHRUN, str(small_model), str(tmp_path / "run"), *settings))
    (tmp_path / "run" / "checkpoints" / "checkpoint-6").rename(tmp_path / "away")
    again = result(start(TORCHRUN, str(small_model), str(tmp_path / "run"), *settings))
    assert again["losses"][-2:] == pytest.approx(whole["losses"][-2:], rel=1e-6)


@pytest.mark.parametrize("name", ["sft", "dpo", "kto"])
def test_killed_run_goes_on_to_the_same_weights(small_model, tmp_path, name):
    settings = ("max_steps=9", "every=2", "lora_rank=4")
    whole = result(start([], str(small_model), str(tmp_path / "whole"), name, *settings))
    killed = start([], str(small_model), str(tmp_path / "killed"), name, *settings, "pause=0.5")
    written = tmp_path / "killed" / "checkpoints" / "checkpoint-4" / "offline_state.json"
    deadline = time.monotonic() + 120
    while not written.exists():
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    again = result(start([], str(small_model), str(tmp_path / "killed"), name, *settings))
    assert again["weights"] == whole["weights"]
