"""What `--to` makes of a run's model beside a folder for the hub: a GGUF file, a folder for Ollama, vLLM's command."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rlpipe.cli.chat.subject import sampling_of
from rlpipe.cli.export import folder, serve
from rlpipe.cli.export.architectures import ARCHITECTURES
from rlpipe.cli.export.folder import Wanted
from rlpipe.config.compose import restore
from rlpipe.core.errors import ModelError, Problem
from rlpipe.core.files import explained
from rlpipe.core.terminal import say
from rlpipe.hub.facts import local_facts, read_config
from rlpipe.models.card import name

TYPES = ("f32", "f16", "bf16", "q8_0")
"""How GGUF may keep matrices: floats, or 8 bits with a scale for every 32."""
MODEL = "model.gguf"
REWARD = "it is a reward model, which ends in one number, and this is for models that write text"


def problems(wanted: Wanted, target: str) -> Iterator[Problem]:
    """Yield why a model cannot become GGUF, as far as that is known without loading anything."""
    architecture = (read_config(wanted.model).get("architectures") or [""])[0]
    if importlib.util.find_spec("gguf") is None:
        yield Problem(f"--to {target}", "the package gguf is not installed", "pip install 'rlpipe[gguf]'")
    if architecture.endswith("SequenceClassification"):
        yield Problem(str(wanted.run.dir), REWARD, "export it as a folder: leave --to out")
    elif architecture not in ARCHITECTURES:
        what = f"{architecture or 'its architecture'} is not among what is converted: {', '.join(ARCHITECTURES)}"
        yield Problem(str(wanted.model), what, "convert the exported folder with llama.cpp's own script")


def gguf(wanted: Wanted, target: Path, kind: str | None, licence: str | None) -> None:
    """Write the model as one GGUF file."""

    def write(staged: Path) -> Path:
        _converted(wanted, staged / MODEL, kind, licence)
        return staged / MODEL

    _published(target, write)


def ollama(wanted: Wanted, target: Path, kind: str | None, licence: str | None) -> None:
    """Write a folder with the model as GGUF, and a Modelfile."""
    from transformers import AutoTokenizer

    from rlpipe.cli.export import ollama
    from rlpipe.cli.export.vocabulary import stop_tokens

    tokenizer = AutoTokenizer.from_pretrained(wanted.model, local_files_only=True)
    template, lost = ollama.template_of(wanted.model, tokenizer)
    sampling = sampling_of(restore(wanted.run.config))
    ends = [str(tokenizer.convert_ids_to_tokens(id)) for id in stop_tokens(wanted.model, tokenizer)]
    facts = local_facts(wanted.model)

    def write(staged: Path) -> Path:
        _converted(wanted, staged / MODEL, kind, licence)
        text = ollama.modelfile(
            MODEL, template, [*ends, *sampling.stop], sampling, facts.context if facts else None, licence
        )
        with explained(staged / "Modelfile"):
            (staged / "Modelfile").write_text(text, encoding="utf-8")
        return staged

    if sampling.stop:
        lost.append("Ollama leaves a stop string out of the answer; in training it was part of it")
    _say(lost)
    _published(target, write)


def vllm(wanted: Wanted, output: Path | None) -> None:
    """Print the command line by which vLLM serves a run's own model, and write it where a file is named."""
    if (read_config(wanted.model).get("architectures") or [""])[0].endswith("SequenceClassification"):
        raise ModelError(wanted.run.dir, REWARD, "export it as a folder: leave --to out")
    output = output and output.expanduser()
    if output is not None:
        folder.check_target(output)
    sampling = sampling_of(restore(wanted.run.config))
    line = serve.line(wanted.model, name(wanted.run.manifest), sampling, tools=bool(wanted.run.config["tool"]))
    if output is not None:
        with explained(output):
            output.write_text(line + "\n", encoding="utf-8")
    ends = [f"max_tokens={sampling.max_tokens}", *([f"stop={sampling.stop}"] if sampling.stop else [])]
    say(f"note: requests say themselves where a completion ends, in training {', '.join(ends)}")
    print(line)


def _converted(wanted: Wanted, file: Path, kind: str | None, licence: str | None) -> None:
    from rlpipe.cli.export.gguf import convert

    verified, lost = convert(wanted.model, file, kind, name(wanted.run.manifest), licence)
    say(f"verified: {verified}")
    _say(lost)


def _say(lost: Sequence[str]) -> None:
    for one in lost:
        say(f"not kept: {one}")


def _published(target: Path, write: Callable[[Path], Path]) -> None:
    """Have files written into a new folder beside the target, and put what is returned in its place, whole."""
    staged = folder.staging(target)
    try:
        with explained(staged, "make"):
            staged.mkdir()
        folder.publish(write(staged), target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
