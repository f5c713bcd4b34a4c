"""A run of several processes, one of which is killed: the others end by themselves, and the run goes on exactly."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from rlpipe.core.files import hashes
from tests import warm

pytestmark = pytest.mark.slow

SMALL = (
    *("model=blank", "method=dpo", "dataset=ultrafeedback", "dataset.sample_size=48", "dataset.test_limit=4"),
    *("evaluation=preference", "method.batch_size=8", "method.micro_batch_size=2", "method.max_length=200"),
    *("method.max_steps=6", "checkpoint.every=2", "log.every=1", "hardware.device=cpu"),
)


def start(folder: Path) -> list[warm.Process]:
    return warm.ranks(2, "rlpipe", *SMALL, f"run_dir={folder}")


def ended(processes: list[warm.Process]) -> list[int]:
    return [process.wait() for process in processes]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_run_of_which_one_process_is_killed_goes_on_to_the_same_weights(tmp_path, victim):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert ended(start(whole)) == [0, 0]
    processes = start(killed)
    deadline = time.monotonic() + 200
    while not (killed / "checkpoints" / "checkpoint-2" / "whole.json").exists():
        assert all(process.poll() is None for process in processes), processes[0].stderr
        assert time.monotonic() < deadline
        time.sleep(0.005)
    processes[victim].send_signal(signal.SIGKILL)
    codes = ended(processes)
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] not in (None, 0)
    assert ended(start(killed)) == [0, 0]
    result, other = (json.loads((folder / "result.json").read_text()) for folder in (killed, whole))
    assert result["metrics"] == other["metrics"]
    assert hashes(killed / "model")["model.safetensors"] == hashes(whole / "model")["model.safetensors"]
    steps = [json.loads(line)["step"] for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 7))
