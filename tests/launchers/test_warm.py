"""Forked processes are what cold ones are: their place, files, signals, exit codes, and what they compute."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlpipe.launchers.warm import Child, Start, Warm
from tests import warm

PROGRAM = """
import json, os, signal, sys, threading, time
how = sys.argv[1]
if how == "look":
    print(json.dumps({
        "argv": sys.argv, "cwd": os.getcwd(), "path": sys.path[0], "variable": os.environ.get("MADE_UP"),
        "session": os.getsid(0) == os.getpid(), "stdin": sys.stdin.read(), "rlpipe": "rlpipe" in sys.modules,
        "wave": "wave" in sys.modules, "open": len(os.listdir("/proc/self/fd")),
        "signals": [str(signal.getsignal(one)) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)],
    }))
    print("problems", file=sys.stderr)
elif how == "raise":
    raise ValueError("boom")
elif how == "words":
    sys.exit("words")
elif how == "late":
    threading.Thread(target=lambda: (time.sleep(0.1), print("late"))).start()
    sys.exit(4)
elif how == "sleep":
    print("asleep", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Warm]:
    """Return a parent that imports next to nothing, where a module `program` is at hand."""
    (tmp_path / "program.py").write_text(PROGRAM)
    made = Warm(["wave"])
    yield made
    made.close()


def begin(parent: Warm, folder: Path, how: str, **more) -> Child:
    (folder / "stdin").write_text("given")
    files = tuple(str(folder / name) for name in ("stdin", "out", "err"))
    environment = {**os.environ, "MADE_UP": "7"}
    return parent.start(Start("program", (how,), str(folder), environment, files, **more))


def test_a_process_is_what_a_cold_one_is(parent: Warm, tmp_path: Path):
    assert begin(parent, tmp_path, "look", ignored=(signal.SIGUSR2,)).wait(30) == 0
    seen = json.loads((tmp_path / "out").read_text())
    assert seen.pop("argv") == [str(tmp_path / "program.py"), "look"]
    assert seen.pop("signals")[1:] == [str(signal.default_int_handler), str(signal.SIG_IGN)]
    assert seen.pop("open") == 4, "standard files, and the folder that is listed"
    expected = {"cwd": str(tmp_path), "path": str(tmp_path), "variable": "7", "session": True, "stdin": "given"}
    assert seen == {**expected, "rlpipe": False, "wave": True}
    assert (tmp_path / "err").read_text() == "problems\n"


@pytest.mark.parametrize(
    ("how", "code", "out", "err"),
    [("raise", 1, "", "ValueError: boom"), ("words", 1, "", "words"), ("late", 4, "late", "")],
)
def test_it_ends_as_python_does(parent: Warm, tmp_path: Path, how: str, code: int, out: str, err: str):
    assert begin(parent, tmp_path, how).wait(30) == code
    assert (tmp_path / "out").read_text().strip() == out
    assert (tmp_path / "err").read_text().strip().endswith(err)


def test_signals_end_processes_and_not_their_parent(parent: Warm, tmp_path: Path):
    child = begin(parent, tmp_path, "sleep")
    assert child.poll() is None
    assert parent._process is not None
    parent._process.send_signal(signal.SIGTERM)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == -signal.SIGTERM
    child.kill()
    assert begin(parent, tmp_path, "late").wait(30) == 4


def test_processes_outlive_their_parent_and_another_takes_its_place(parent: Warm, tmp_path: Path):
    child = begin(parent, tmp_path, "sleep")
    assert parent._process is not None
    parent._process.kill()
    parent._process.wait()
    try:
        assert child.wait(1) is None, "nobody knows"
        os.kill(child.pid, 0)
        assert begin(parent, tmp_path, "late").wait(30) == 4
    finally:
        os.kill(child.pid, signal.SIGKILL)


def test_what_cannot_be_started_is_said(parent: Warm, tmp_path: Path):
    files = (os.devnull, str(tmp_path / "none" / "log"), os.devnull)
    with pytest.raises(OSError, match="none/log"):
        parent.start(Start("program", (), str(tmp_path), dict(os.environ), files))


def test_a_parent_that_cannot_import_says_so():
    with pytest.raises(OSError, match=r"ended while it began \(exit code 1\)"):
        Warm(["no_such_module"]).ready(30)


COLD = """
import importlib, runpy, sys, threading
import torch
from unittest.mock import patch
from rlpipe.launchers.warm import IMPORTS

looks = AssertionError("it looks at GPUs")
with (
    patch("torch.cuda.is_available", side_effect=looks),
    patch("torch.cuda.device_count", side_effect=looks),
    patch("torch.cuda.init", side_effect=looks),
):
    for name in IMPORTS:
        importlib.import_module(name)
assert threading.active_count() == 1, threading.enumerate()
runpy.run_module("rlpipe", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_forked_run_is_a_cold_one_bit_for_bit_and_its_parent_looks_at_no_gpu(tmp_path: Path):
    small = ("method.max_steps=2", "method.batch_size=4", "method.micro_batch_size=2", "dataset.sample_size=32")
    own = ("model=blank", "method=dpo", "evaluation=none", "log.every=1", "hardware.device=cpu", *small)
    folders = {name: tmp_path / name for name in ("cold", "forked")}
    environment = {"RLPIPE_STORE": str(tmp_path / "store"), "OMP_NUM_THREADS": "1"}
    forked = warm.run("rlpipe", *own, f"run_dir={folders['forked']}", cwd=tmp_path, env=environment)
    assert forked.returncode == 0, forked.stderr
    environment["RLPIPE_STORE"] += "-of-its-own"
    cold = subprocess.run(
        [sys.executable, "-c", COLD, *own, f"run_dir={folders['cold']}"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert cold.returncode == 0, cold.stderr
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in folders.values()]
    assert weights[0] == weights[1]
    losses = [
        [json.loads(line).get("loss") for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in folders.values()
    ]
    assert losses[0] == losses[1]
    assert sum(loss is not None for loss in losses[0]) == 2
