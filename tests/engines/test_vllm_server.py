"""A server that draws: what is asked of it, and that neither its death nor the run's loses or leaves anything."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlpipe.config.compose import compose
from rlpipe.core.errors import ModelError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.engines.sampler import Sampler
from rlpipe.engines.vllm_server import VllmServer, VllmServerConfig
from rlpipe.models.base import Loaded
from rlpipe.run.check.check import problems
from tests.engines.families import family

PROMPTS = [Prompt(f"train/{number}", [{"role": "user", "content": "Hi" * number}]) for number in range(1, 5)]
SAMPLING = SamplingConfig(max_tokens=6)
COMMAND = [sys.executable, "-S", str(Path(__file__).with_name("fake_server.py"))]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setenv("FAKE", str(folder))
    return folder


Make = Callable[..., VllmServer]


@pytest.fixture
def make(fake: Path, tmp_path: Path) -> Iterator[Make]:
    """Make engines that are closed at the end, however that comes; their weights lie in `tmp_path`."""
    made = []

    def one(**settings: Any) -> VllmServer:
        given = {"command": COMMAND, "folder": str(tmp_path), "max_gap": 1e9, "patience": 20.0, **settings}
        made.append(VllmServer(VllmServerConfig(**given)))
        return made[-1]

    yield one
    for engine in made:
        engine.close()
    assert not list(tmp_path.glob("rlpipe-vllm-*")), "nothing is left behind"


def said(fake: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (fake / "said.jsonl").read_text().splitlines()]


def drawn(engine: VllmServer, loaded: Loaded, count: int = 2) -> list[list[int]]:
    groups = Sampler(loaded, SAMPLING, engine=engine).sample(PROMPTS, count, 0)
    return [rollout.ids for group in groups for rollout in group]


def gone(pid: int, within: float = 15.0) -> bool:
    """Wait until a process is no more."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_weights_come_before_what_is_drawn_from_them(make: Make, fake: Path) -> None:
    engine, one = make(), family("llama")
    first = drawn(engine, one)
    assert drawn(engine, one) == first
    engine.policy_changed()
    drawn(engine, one)
    paths = [row["path"] for row in said(fake) if row["path"] != "/v1/completions"]
    assert paths == ["/collective_rpc", "/reset_prefix_cache"] * 2
    folders = [row["kwargs"]["folder"] for row in said(fake) if row["path"] == "/collective_rpc"]
    assert [Path(folder).exists() for folder in folders] == [False, True], "the ones before are deleted"
    request = next(row for row in said(fake) if row["path"] == "/v1/completions")
    assert request["logprobs"] == 0
    assert request["return_token_ids"] is True


def test_what_is_written_is_what_the_policy_has(make: Make) -> None:
    import torch
    from safetensors.torch import load_file

    from rlpipe.engines.vllm_server import write_weights

    for name, autocast, dtype in (("llama", False, torch.float32), ("smollm", True, torch.bfloat16)):
        one = dataclasses.replace(family(name), autocast=autocast)
        engine = make()
        engine.start(one)
        write_weights(one, engine._scratch / "weights")
        written = load_file(engine._scratch / "weights" / "model.safetensors")
        own = dict(one.model.named_parameters())
        assert set(written) == set(own)
        assert all(torch.equal(written[key], own[key].to(dtype)) for key in own)


@pytest.mark.parametrize("dies", [5, *(pytest.param(dies, marks=pytest.mark.slow) for dies in (0, 1, 9))])
def test_a_server_that_dies_in_a_batch_loses_and_doubles_nothing(make: Make, fake: Path, dies: int) -> None:
    one = family("llama")
    expected = drawn(make(), one)
    before = len(said(fake))
    engine = make()
    engine.start(one)
    engine.started = True
    (fake / "dies").write_text(str(dies + 4))  # four completions tell whether it is fresh
    assert drawn(engine, one) == expected
    rows = said(fake)[before:]
    assert len({row["pid"] for row in rows}) == 2
    second = [row for row in rows if row["pid"] != rows[0]["pid"]]
    assert [row["path"] for row in second[:2]] == ["/collective_rpc", "/reset_prefix_cache"], (
        "it has the weights of now"
    )


@pytest.mark.slow
def test_a_server_that_dies_between_batches_is_started_again(make: Make, fake: Path) -> None:
    engine, one = make(), family("llama")
    expected = drawn(engine, one)
    os.kill(int((fake / "pid").read_text()), signal.SIGKILL)
    engine.policy_changed()
    assert drawn(engine, one) == expected


@pytest.mark.slow
def test_a_server_that_dies_again_and_again_ends_the_run(make: Make, fake: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("rlpipe.engines.vllm_server.RESTARTS", 1)
    engine, one = make(), family("llama")
    drawn(engine, one)
    os.kill(int((fake / "pid").read_text()), signal.SIGKILL)
    drawn(engine, one)
    os.kill(int((fake / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(ModelError, match="the server has died 2 times") as error:
        drawn(engine, one)
    assert "fake server starts" in str(error.value)


@pytest.mark.parametrize(
    ("file", "match"),
    [
        (
            "broken",
            r"ended while it started \(exit code 1\); it said:\nfake server starts\nno kernel image is available",
        ),
        ("deaf", r"does not answer within 1 s \(HTTP 503: \)"),
        ("refuses", r"the server refuses /collective_rpc: HTTP 400: .*no such model"),
    ],
)
def test_a_server_that_cannot_be_used_is_named_with_what_it_says(make: Make, fake: Path, file: str, match: str) -> None:
    (fake / file).touch()
    with pytest.raises(ModelError, match=match):
        drawn(make(patience=1.0 if file == "deaf" else 20.0), family("llama"))


def test_a_server_ends_with_its_engine(make: Make, fake: Path) -> None:
    engine = make()
    drawn(engine, family("llama"))
    engine.close()
    assert gone(int((fake / "pid").read_text()), within=1.0)
    make().close()


def test_a_run_that_is_killed_leaves_no_server(fake: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from rlpipe.engines.serving import Child, Client, wait_until_healthy\n"
        "scratch, *command = sys.argv[1:]\n"
        "socket = Path(scratch) / 'socket'\n"
        "scratch = Path(scratch)\n"
        "child = Child([*command, '--uds', str(socket)], dict(os.environ), scratch / 'log.txt', [scratch])\n"
        "wait_until_healthy(Client('http://server', socket, None, 5.0), child, 20.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(scratch), *COMMAND], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert gone(int((fake / "pid").read_text()))
    deadline = time.monotonic() + 15
    while scratch.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not scratch.exists(), "weights would stay in memory"


@pytest.mark.parametrize(
    ("overrides", "where", "match"),
    [
        (("engine.url=http://localhost:8000",), None, ""),
        (("engine.url=localhost:8000",), "engine.url", "is no address"),
        (("engine.url=http://localhost:8000", "engine.python=python3"), "engine", "name different servers"),
        (("engine.url=http://localhost:8000", "engine.gpus='1'"), "engine", "that the run starts"),
        (("engine.python=no/such/python",), "engine.python", "there is no program no/such/python"),
        (("engine.key_env=NO_SUCH_KEY",), "engine.key_env", "belongs to a server that runs already"),
        (("engine.url=http://localhost:8000", "engine.key_env=NO_SUCH_KEY"), "engine.key_env", "is not set"),
        (("engine.folder=/no/such/folder",), "engine.folder", "cannot be written"),
        (("model.quantize=nf4", "model.lora.rank=8"), "model.quantize", "whole weights"),
    ],
)
def test_what_contradicts_itself_is_said_before_anything_starts(
    overrides: tuple[str, ...], where: str | None, match: str
) -> None:
    chosen = ("method=rloo", "dataset=countdown", "reward=countdown", "engine=vllm_server", "evaluation=none")
    known: dict[str, str] = {}
    for one in problems(compose(*chosen, *overrides)):
        known.setdefault(one.where, one.what)
    assert match in known.get(where or "", "")
    assert [key for key in known if key.startswith("engine")] == [key for key in (where,) if "engine" in str(key)]


def test_a_server_reads_nothing_of_the_run(make: Make) -> None:
    from rlpipe.engines.vllm_server import environment, options, program

    config = VllmServerConfig(python="/envs/vllm/bin/python", gpus="2,3", arguments=["--tensor-parallel-size", "2"])
    assert program(config) == ["/envs/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    given = environment(config, on_gpu=True)
    assert given["CUDA_VISIBLE_DEVICES"] == "2,3"
    [path] = given["PYTHONPATH"].split(os.pathsep)
    assert sorted(file.name for file in Path(path).glob("rlpipe*.py")) == ["rlpipe_supervise.py", "rlpipe_vllm.py"]
    written = options(config, family("llama"), Path("scratch"), on_gpu=True)
    assert written[-2:] == ["--tensor-parallel-size", "2"]
    assert written[written.index("--gpu-memory-utilization") + 1] == "0.9"
    assert written[written.index("--worker-extension-cls") + 1] == "rlpipe_vllm.Worker"


# With a real vLLM


@pytest.mark.vllm
def test_a_real_server_conforms(tmp_path: Path) -> None:
    from rlpipe.testing import check_engine

    check_engine(VllmServer, tmp_path, python=sys.executable, cache_gb=1, tied=True)


@pytest.mark.vllm
def test_a_real_server_is_started_again_with_its_adapter_and_leaves_no_process(tmp_path: Path) -> None:
    import peft
    import psutil

    from rlpipe.testing.engines import move, small_model

    engine = VllmServer(VllmServerConfig(python=sys.executable, cache_gb=1))
    one = dataclasses.replace(small_model(tmp_path, tied=False, rank=5), engine=engine)
    one.model = peft.get_peft_model(one.model, one.peft)
    try:
        move(one)
        expected = drawn(engine, one)
        move(one)
        assert drawn(engine, one) != expected
        expected = drawn(engine, one)
        processes = psutil.Process(engine._child._process.pid).children(recursive=True)
        assert len(processes) >= 2, "the API server and its engine"
        processes[-1].kill()
        assert drawn(engine, one) == expected
        assert psutil.wait_procs(processes, timeout=15)[1] == []
        processes = psutil.Process(engine._child._process.pid).children(recursive=True)
        os.kill(engine._child._process.pid, signal.SIGTERM)  # what the system does when the run is killed
        assert psutil.wait_procs(processes, timeout=15)[1] == []
    finally:
        engine.close()
