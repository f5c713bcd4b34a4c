"""`--to vllm`: the command line by which vLLM serves a run's model, with the run's precision, sampling and tools."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from rlpipe.engines.rollout import SamplingConfig
from rlpipe.hub.facts import read_config

CALLS = "hermes"
"""What vLLM calls tool calls as rlpipe's ChatML writes them: JSON between `<tool_call>` and `</tool_call>`."""


def words(model: Path, name: str, sampling: SamplingConfig, tools: bool) -> list[str]:
    """Return the words of a command that serves a model's folder as `name`, to this machine alone.

    `tools` says whether the model was trained with tools: where its template writes calls as rlpipe's, they are read.
    """
    template = model / "chat_template.jinja"
    calls = tools and template.is_file() and "<tool_call>" in template.read_text(encoding="utf-8")
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    drawn |= {"top_k": sampling.top_k, "min_p": sampling.min_p}
    found = ["vllm", "serve", str(model.resolve()), "--served-model-name", name, "--host", "127.0.0.1"]
    found += ["--dtype", str(read_config(model).get("dtype") or "auto")]  # which would halve 32-bit weights
    found += ["--override-generation-config", json.dumps(drawn)]
    return [*found, *(["--enable-auto-tool-choice", "--tool-call-parser", CALLS] if calls else [])]


def line(model: Path, name: str, sampling: SamplingConfig, tools: bool) -> str:
    """Return that command for a shell."""
    return shlex.join(words(model, name, sampling, tools))
