"""The commands that a newcomer types, in processes of their own, at full length."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.composed import once
from tests.docs.blocks import ROOT, blocks
from tests.smoke.conftest import SMALL

pytestmark = pytest.mark.slow

GIVEN = os.environ.get("RLPIPE_STORE")
"""The store as it was given, before fixtures hide it: `.ci/run` has built the toy model in its own."""
FIRST_RUN = os.environ.get("RLPIPE_FIRST_RUN")
"""The folder where `.ci/run` has just typed README's first command."""


def typed(folder: Path, *command: str, store: Path | None = None) -> str:
    """Run a command in a folder; it must succeed. Returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["RLPIPE_STORE"] = str(store or folder / "store")
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def result(folder: Path) -> dict[str, Any]:
    """Return what the newest run in a folder has found."""
    file = max(folder.glob("runs/*/*/result.json"), key=os.path.getmtime)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(GIVEN) if GIVEN else tmp_path_factory.mktemp("toy")


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, shared_store: Path) -> Path:
    """The folder where README's first command was typed, which makes the toy model that other commands find."""
    if GIVEN and FIRST_RUN:
        return Path(FIRST_RUN)
    command = shlex.split(blocks(ROOT / "README.md", "sh")[0].text.splitlines()[-1])
    assert command[0] == ".venv/bin/python"
    folder = tmp_path_factory.mktemp("first")
    typed(folder, sys.executable, *command[1:], store=shared_store)
    return folder


def test_readmes_first_run_learns_to_prefer(first_run):
    metrics = result(first_run)["metrics"]
    assert metrics["after/preference/accuracy"] > metrics["before/preference/accuracy"]
    assert metrics["after/preference/reward_accuracy"] > 0.7
    assert metrics["after/preference/reward_margin"] > 0.5


@pytest.mark.usefixtures("first_run")
def test_the_bare_command_tells_the_whole_story(tmp_path, shared_store):
    """Warm start and RLOO on Countdown: the reward rises, and more held-out puzzles are solved.

    A hundred held-out puzzles leave an interval of 0.08 on either side of the change, which rounding alone moves by
    half as much; the thousand rollouts at the beginning and at the end tell far more.
    """
    printed = typed(tmp_path, sys.executable, "-m", "rlpipe", store=shared_store)
    assert "reusing sft-mixture-" in printed, "the toy model is made once"
    metrics = result(tmp_path)["metrics"]
    assert metrics["before/accuracy/accuracy"] > 0.05
    assert metrics["change/accuracy/score"] > 0
    file = max(tmp_path.glob("runs/*/*/metrics.jsonl"), key=os.path.getmtime)
    rewards = [row["reward"] for row in map(json.loads, file.read_text().splitlines()) if "reward" in row]
    third = len(rewards) // 3
    assert sum(rewards[-third:]) / third > sum(rewards[:third]) / third + 0.02
    assert "train on" in printed
    assert "Training completed" not in printed, "what the libraries say belongs into log.txt"


def test_a_sweep_builds_a_common_stage_once(tmp_path):
    first = "method=sft,method.max_steps=2,method.batch_size=4,method.micro_batch_size=2,evaluation=none"
    asked = ("-m", *SMALL, "model=blank", "method=dpo,orpo", "evaluation=none", f"after=[{first}]")
    done = warm.run("rlpipe", *asked, cwd=tmp_path, env={"RLPIPE_STORE": str(tmp_path / "store")})
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "store").glob("sft-*/"))) == 1
    arms = [json.loads(file.read_text())["status"] for file in tmp_path.glob("multirun/*/*/*/result.json")]
    assert arms == ["ok", "ok"]


def test_two_processes_train_as_one(tmp_path):
    """The pages' `accelerate launch` line: the same losses and the same held-out numbers as in one process."""
    own = once(
        *SMALL, "model=blank", "method=dpo", "evaluation=preference", "method.max_steps=3", "method.batch_size=8"
    )
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "rlpipe")
    losses, metrics = [], []
    one = warm.run("rlpipe", *own, "run_dir=one", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    typed(tmp_path, sys.executable, *launcher, *own, "run_dir=two")
    for name in ("one", "two"):
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss"] for row in rows if "loss" in row])
        metrics.append(json.loads((tmp_path / name / "result.json").read_text())["metrics"])
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-3, abs=1e-3)
