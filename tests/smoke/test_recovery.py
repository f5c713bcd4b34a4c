"""Runs that are killed, stopped or damaged go on and end with the same weights; two processes equal one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlpipe.core.files import hashes

pytestmark = pytest.mark.slow

SMALL = (
    *(
        "model=blank",
        "dataset.sample_size=120",
        "method.max_steps=9",
        "method.batch_size=8",
        "method.micro_batch_size=4",
    ),
    *("checkpoint.every=2", "log.every=1", "evaluation=preference", "hardware.device=cpu"),
)
METHODS = {
    "sft": "smoltalk",
    "reward_model": "ultrafeedback",
    "dpo": "ultrafeedback",
    "kto": "ultrafeedback",
    "orpo": "piqa",
    "simpo": "ultrafeedback",
}


def command(run_dir: Path, method: str, *more: str) -> list[str]:
    chosen = [f"method={method}", f"dataset={METHODS[method]}", f"run_dir={run_dir}"]
    if method == "sft":
        more = (*more, "evaluation=perplexity")
    return [sys.executable, "-m", "rlpipe", *SMALL, *chosen, *more]


def finish(arguments: list[str]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def stop_after(arguments: list[str], checkpoint: Path, number: signal.Signals) -> int:
    """Start a run, send it a signal once a checkpoint stands, and return its exit code."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (checkpoint / "whole.json").exists():
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait(timeout=120)


def steps(run_dir: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def result(run_dir: Path) -> dict:
    return json.loads((run_dir / "result.json").read_text())


@pytest.fixture(scope="module")
def whole_dpo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(command(folder, "dpo"))
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_ends_with_the_same_weights(tmp_path, method):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(command(whole, method))
    assert stop_after(command(killed, method), killed / "checkpoints" / "checkpoint-4", signal.SIGKILL) == -9
    assert not (killed / "result.json").exists()
    finish(command(killed, method))
    weights = "model.safetensors"
    assert hashes(killed / "model")[weights] == hashes(whole / "model")[weights]
    assert steps(killed) == steps(whole)
    assert result(killed)["metrics"] == result(whole)["metrics"]
    assert result(killed)["attempts"] == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_says_so_and_goes_on(tmp_path, whole_dpo, number):
    stopped = tmp_path / "stopped"
    assert stop_after(command(stopped, "dpo"), stopped / "checkpoints" / "checkpoint-2", number) == 75
    assert result(stopped)["status"] == "stopped"
    finish(command(stopped, "dpo"))
    assert hashes(stopped / "model")["model.safetensors"] == hashes(whole_dpo / "model")["model.safetensors"]
    assert steps(stopped) == steps(whole_dpo)


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, whole_dpo):
    damaged = tmp_path / "damaged"
    stop_after(command(damaged, "dpo"), damaged / "checkpoints" / "checkpoint-6", signal.SIGKILL)
    newest = max((damaged / "checkpoints").glob("checkpoint-*/whole.json"), key=os.path.getmtime).parent
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = subprocess.run(command(damaged, "dpo"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{newest.name} is damaged (model.safetensors: hash differs); going on from checkpoint-" in done.stderr
    assert hashes(damaged / "model")["model.safetensors"] == hashes(whole_dpo / "model")["model.safetensors"]


def test_a_killed_stage_is_taken_over_and_built_once(tmp_path):
    store, run_dir = tmp_path / "store", tmp_path / "run"
    stage = "after=[method=sft,dataset=smoltalk,method.max_steps=8,checkpoint.every=2,evaluation=none]"
    arguments = command(run_dir, "dpo", stage, f"store={store}")
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(store.glob("sft-*/checkpoints/checkpoint-4/whole.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    finish(arguments)
    (folder,) = store.glob("sft-*")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["attempts"]) == 2
    assert manifest["attempts"][1]["resumed_from"] >= 4
    assert json.loads((run_dir / "manifest.json").read_text())["parents"] == {folder.name: manifest["fingerprint"]}


def test_two_processes_log_what_one_logs_with_twice_the_accumulation(tmp_path, whole_dpo):
    one, two = whole_dpo, tmp_path / "two"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "rlpipe"]
    arguments = command(two, "dpo")
    finish([arguments[0], *launch, *arguments[3:]])
    mine, theirs = ([json.loads(line) for line in (d / "metrics.jsonl").read_text().splitlines()] for d in (one, two))
    assert [row["loss"] for row in theirs] == pytest.approx([row["loss"] for row in mine], rel=1e-3)
    assert result(two)["metrics"] == pytest.approx(result(one)["metrics"], rel=1e-2, abs=2e-2)


def test_a_killed_run_with_tool_calls_ends_with_the_same_weights(tmp_path):
    """Killed between two optimiser steps on one batch of rollouts, whose completions hold results of the calculator."""
    tool = "tool=calculator,tool.calculator.protocol=text"
    traces = f"method=sft,dataset=warmstart,{tool},dataset.sample_size=2000,method.batch_size=8,method.max_steps=100"
    start = f"after=[{traces},method.learning_rate=4e-3,evaluation=none]"
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def rloo(run_dir: Path) -> list[str]:
        chosen = ["model=blank", "method=rloo", "dataset=countdown", "reward=countdown", *tool.split(","), start]
        settings = [
            "method.max_steps=7",
            "method.minibatches=2",
            "method.batch_size=16",
            "method.sampling.max_tokens=64",
        ]
        shown = ["checkpoint.every=1", "log.every=1", "evaluation=none", "hardware.device=cpu"]
        places = [f"store={tmp_path / 'store'}", f"run_dir={run_dir}"]
        return [sys.executable, "-m", "rlpipe", *chosen, *settings, *shown, *places]

    finish(rloo(whole))
    assert stop_after(rloo(killed), killed / "checkpoints" / "checkpoint-3", signal.SIGKILL) == -9
    finish(rloo(killed))
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert sum(row.get("tool_calls", 0) for row in rows) > 0
    assert hashes(killed / "model")["model.safetensors"] == hashes(whole / "model")["model.safetensors"]
    assert steps(killed) == steps(whole)
