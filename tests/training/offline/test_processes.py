"""Killed runs, and runs of two processes; those are killed and go on in tests/run/test_processes.py."""

from __future__ import annotations

import json
import time

import pytest

from tests import warm

SCRIPT = "tests.training.offline.train_small"
pytestmark = pytest.mark.slow


def start(*arguments: str) -> list[warm.Process]:
    return [warm.Process(SCRIPT, *arguments)]


def start_two(*arguments: str) -> list[warm.Process]:
    return warm.ranks(2, SCRIPT, *arguments)


def result(processes: list[warm.Process]) -> dict:
    for process in processes:
        assert process.wait() == 0, process.stderr[-3000:]
    return json.loads(next(line for line in reversed(processes[0].stdout.splitlines()) if line.startswith("{")))


@pytest.mark.parametrize("name", ["sft", "reward_model", "dpo", "orpo", "simpo"])
def test_two_processes_equal_one_with_twice_the_accumulation(small_model, tmp_path, name):
    settings = ("micro_batch_size=2", "count=22")  # the last batch of an epoch has 6 rows, in 4 and in 3 parts
    two = result(start_two(str(small_model), str(tmp_path / "two"), name, *settings))
    one = result(start(str(small_model), str(tmp_path / "one"), name, *settings))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert len(one["losses"]) == 6


def test_killed_run_goes_on_to_the_same_weights(small_model, tmp_path):
    """KTO keeps an order of its own; other methods are killed in tests/smoke/test_recovery.py."""
    name, settings = "kto", ("max_steps=7", "every=2", "lora_rank=4")
    whole = result(start(str(small_model), str(tmp_path / "whole"), name, *settings))
    [killed] = start(str(small_model), str(tmp_path / "killed"), name, *settings, "pause=0.5")
    written = tmp_path / "killed" / "checkpoints" / "checkpoint-4" / "offline_state.json"
    deadline = time.monotonic() + 120
    while not written.exists():
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    again = result(start(str(small_model), str(tmp_path / "killed"), name, *settings))
    assert again["weights"] == whole["weights"]
