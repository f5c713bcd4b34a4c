"""Runs that are killed, stopped or damaged go on and end with the same weights."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from rlpipe.core.files import hashes
from tests import warm
from tests.composed import once

pytestmark = pytest.mark.slow

SMALL = (
    *(
        "model=blank",
        "dataset.sample_size=120",
        "method.max_steps=7",
        "method.batch_size=8",
        "method.micro_batch_size=4",
    ),
    *("checkpoint.every=2", "log.every=1", "evaluation=preference", "hardware.device=cpu"),
)
METHODS = {"sft": "smoltalk", "reward_model": "ultrafeedback", "dpo": "ultrafeedback"}
"""One for each head and kind of row: that every method goes on exactly is proved in tests/training/offline."""


def command(run_dir: Path, method: str, *more: str) -> list[str]:
    chosen = [f"method={method}", f"dataset={METHODS[method]}", f"run_dir={run_dir}"]
    if method == "sft":
        more = (*more, "evaluation=perplexity")
    return once(*SMALL, *chosen, *more)


def finish(overrides: list[str]) -> str:
    """Run to the end; returns what was said."""
    done = warm.run("rlpipe", *overrides)
    assert done.returncode == 0, done.stderr
    return done.stderr


def stop_after(overrides: list[str], checkpoint: Path, number: signal.Signals) -> int:
    """Start a run, send it a signal once a checkpoint stands, and return its exit code."""
    process = warm.Process("rlpipe", *overrides)
    deadline = time.monotonic() + 120
    while not (checkpoint / "whole.json").exists():
        assert process.poll() is None, f"the run ended before it could be stopped: {process.stderr}"
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
def test_a_killed_run_ends_with_the_same_weights(tmp_path, whole_dpo, method):
    whole, killed = whole_dpo, tmp_path / "killed"
    if method != "dpo":
        whole = tmp_path / "whole"
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
    stop_after(command(damaged, "dpo"), damaged / "checkpoints" / "checkpoint-4", signal.SIGKILL)
    newest = max((damaged / "checkpoints").glob("checkpoint-*/whole.json"), key=os.path.getmtime).parent
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    said = finish(command(damaged, "dpo"))
    assert f"{newest.name} is damaged (model.safetensors: hash differs); going on from checkpoint-" in said
    assert hashes(damaged / "model")["model.safetensors"] == hashes(whole_dpo / "model")["model.safetensors"]


def test_a_killed_stage_is_taken_over_and_built_once(tmp_path):
    store, run_dir = tmp_path / "store", tmp_path / "run"
    stage = "after=[method=sft,dataset=smoltalk,method.max_steps=8,checkpoint.every=2,evaluation=none]"
    arguments = command(run_dir, "dpo", stage, f"store={store}")
    process = warm.Process("rlpipe", *arguments)
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


def test_a_killed_run_with_tool_calls_ends_with_the_same_weights(tmp_path):
    """Killed between two optimiser steps on one batch of rollouts, whose completions hold results of the calculator."""
    tool = "tool=calculator,tool.calculator.protocol=text"
    traces = f"method=sft,dataset=warmstart,{tool},dataset.sample_size=2000,method.batch_size=8,method.max_steps=100"
    start = f"after=[{traces},method.learning_rate=4e-3,evaluation=none]"
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def rloo(run_dir: Path) -> list[str]:
        chosen = ["model=blank", "method=rloo", "dataset=countdown", "reward=countdown", *tool.split(","), start]
        settings = [
            "method.max_steps=5",
            "method.minibatches=2",
            "method.batch_size=16",
            "method.sampling.max_tokens=64",
        ]
        shown = ["checkpoint.every=1", "log.every=1", "evaluation=none", "hardware.device=cpu"]
        places = [f"store={tmp_path / 'store'}", f"run_dir={run_dir}"]
        return [*chosen, *settings, *shown, *places]

    finish(rloo(whole))
    assert stop_after(rloo(killed), killed / "checkpoints" / "checkpoint-3", signal.SIGKILL) == -9
    finish(rloo(killed))
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert sum(row.get("tool_calls", 0) for row in rows) > 0
    assert hashes(killed / "model")["model.safetensors"] == hashes(whole / "model")["model.safetensors"]
    assert steps(killed) == steps(whole)
