"""Killed runs, and runs of two processes."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from tests import warm

SCRIPT = "tests.training.online.training"
METHODS = ("rloo", "grpo", "reinforce", "ppo")
pytestmark = pytest.mark.slow


def start(*arguments: str) -> list[warm.Process]:
    return [warm.Process(SCRIPT, *arguments)]


def start_two(*arguments: str) -> list[warm.Process]:
    return warm.ranks(2, SCRIPT, *arguments)


def result(processes: list[warm.Process]) -> dict:
    for process in processes:
        assert process.wait() == 0, process.stderr[-3000:]
    return json.loads(next(line for line in reversed(processes[0].stdout.splitlines()) if line.startswith("{")))


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_equal_one(small_model, tmp_path, name):
    """Completions of different lengths, in micro-batches of which the processes have different numbers."""
    settings = ('sampling={"max_tokens":12,"stop":["a","e","i","o","u"]}', "micro_batch_tokens=96")
    two = result(start_two(str(small_model), str(tmp_path / "two"), name, *settings))
    one = result(start(str(small_model), str(tmp_path / "one"), name, *settings))
    assert len(one["loss"]) == 6
    assert two["reward"] == pytest.approx(one["reward"], rel=1e-6)
    for key in ("loss", "grad_norm", "entropy"):
        assert two[key] == pytest.approx(one[key], rel=1e-3, abs=1e-6), key


def test_two_processes_resume(small_model, tmp_path):
    """Inside the passes over one batch of rollouts, with the next one begun; and one process goes on as they do."""
    settings = ("ppo", "every=3", "lag=1", 'correction="truncate"')
    whole = result(start_two(str(small_model), str(tmp_path / "run"), *settings))
    (tmp_path / "run" / "checkpoints" / "checkpoint-6").rename(tmp_path / "away")
    shutil.copytree(tmp_path / "run", tmp_path / "alone")
    again = result(start_two(str(small_model), str(tmp_path / "run"), *settings))
    assert again["loss"][-3:] == pytest.approx(whole["loss"][-3:], rel=1e-5, abs=1e-7)
    alone = result(start(str(small_model), str(tmp_path / "alone"), *settings))
    assert alone["loss"][-3:] == pytest.approx(whole["loss"][-3:], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "step"), [pytest.param("grpo", 3, id="inside_a_batch"), pytest.param("ppo", 4, id="between_batches")]
)
def test_killed_run_goes_on_to_the_same_weights(small_model, tmp_path, name, step):
    settings = ("max_steps=8", f"every={step}", "lora_rank=4")
    whole = result(start(str(small_model), str(tmp_path / "whole"), name, *settings))
    [killed] = start(str(small_model), str(tmp_path / "killed"), name, *settings, "pause=0.5")
    written = tmp_path / "killed" / "checkpoints" / f"checkpoint-{step}" / "online_state.json"
    deadline = time.monotonic() + 120
    while not written.exists():
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    time.sleep(0.2)
    killed.kill()
    killed.wait()
    again = result(start(str(small_model), str(tmp_path / "killed"), name, *settings))
    assert again["weights"] == whole["weights"]
