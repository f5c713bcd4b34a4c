"""`rlpipe chat RUN`: talk to a run's model, a stage's, or any model, in the terminal or from a script."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rlpipe.cli.commands import page
from rlpipe.cli.exits import DONE
from rlpipe.config.resolved import default
from rlpipe.config.schema import Device
from rlpipe.core.errors import ConfigError, RlpipeError
from rlpipe.core.terminal import say
from rlpipe.engines.base import drawn_by
from rlpipe.engines.rollout import SamplingConfig, sampling_problems

if TYPE_CHECKING:
    from rlpipe.cli.chat.subject import Subject

ABOUT = (
    "Talk to the model of a run or a stage, or to any model. Without --prompt, on a terminal, it talks until /exit; "
    "with standard input from elsewhere, all of that is one prompt. Answers are drawn by the sampler, the tools and "
    "the settings of the run's own training; a model that is no run's gets temperature 0.7. What the model writes "
    "goes to standard output, everything else to standard error."
)
EXAMPLES = [
    ("rlpipe chat runs/DATE/TIME", "talk to what the run has trained"),
    ("rlpipe chat RUN --prompt 'Why is the sky blue?'", "one answer"),
    ("rlpipe chat RUN --temperature 0 < question.txt", "the likeliest answer to what a file asks"),
    ("rlpipe chat HuggingFaceTB/SmolLM2-135M-Instruct", "a model of the hub"),
]


def run(arguments: argparse.Namespace) -> int:
    """Talk, or answer one prompt."""
    prompt = _prompt(arguments.prompt)
    given = {"temperature": arguments.temperature, "max_tokens": arguments.max_tokens}
    chosen = {name: value for name, value in given.items() if value is not None}
    if problems := sampling_problems(replace(SamplingConfig(), **chosen), "--"):
        raise ConfigError([replace(one, where=one.where.replace("_", "-")) for one in problems])

    from rlpipe.core import logs

    with TemporaryDirectory(prefix="rlpipe-chat-") as scratch, logs.quiet(Path(os.devnull)):
        from rlpipe.cli.chat import subject, terminal
        from rlpipe.cli.chat.conversation import Conversation

        found = subject.find(arguments.run, _device(arguments.device), Path(scratch) / "start")
        sampling = replace(found.sampling, **chosen)
        tools = () if arguments.no_tools else found.tools
        _introduce(found, sampling, [tool.name for tool in tools])
        with drawn_by(default("engine", arguments.engine), found.loaded) as loaded:
            conversation = Conversation(loaded, sampling, tools, arguments.system, arguments.seed)
            if prompt is None:
                terminal.converse(conversation)
            else:
                terminal.one_shot(conversation, prompt)
    return DONE


def _introduce(found: Subject, sampling: SamplingConfig, tools: list[str]) -> None:
    drawn = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"
    with_tools = f", tools: {', '.join(tools)}" if tools else ""
    say(f"{found.description}; {drawn}, at most {sampling.max_tokens} tokens{with_tools}")
    for note in found.notes:
        say(f"note: {note}")


def _prompt(given: str | None) -> str | None:
    """Return the one thing to say, None for a conversation. Raises RlpipeError for an empty one."""
    if given is None and sys.stdin.isatty():
        return None
    text = sys.stdin.read() if given is None or given == "-" else given
    if not text.strip():
        raise RlpipeError("--prompt", "there is nothing to say", "give some text, or start on a terminal to talk")
    return text.strip()


def _device(name: str) -> str:
    import torch

    from rlpipe.config.schema import HardwareConfig, RunConfig
    from rlpipe.run import build

    hardware = HardwareConfig(device=Device(name), threads=torch.get_num_threads())
    return build.hardware(RunConfig(hardware=hardware))


def parser() -> argparse.ArgumentParser:
    """Return the parser of `rlpipe chat`."""
    codes = "0 done, 2 something to fix, 130 interrupted"
    parser = argparse.ArgumentParser("rlpipe chat", **page(ABOUT, EXAMPLES, codes))
    parser.add_argument("run", metavar="RUN", help="a run's folder, a stage's name, a model's folder, or a hub id")
    parser.add_argument("--prompt", metavar="TEXT", help="say this, print the answer, and end; - reads standard input")
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument(
        "--temperature", metavar="T", type=float, help="0: the likeliest token (default: as in training)"
    )
    parser.add_argument("--max-tokens", metavar="N", type=int, help="longest answer, tokens (default: as in training)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="other seeds draw other answers (default 0)")
    parser.add_argument(
        "--engine", metavar="NAME", default="transformers", help="what draws the answers (default: transformers)"
    )
    parser.add_argument("--no-tools", action="store_true", help="talk without the run's tools")
    parser.add_argument("--device", choices=[one.value for one in Device], default="auto", help="default: auto")
    return parser
