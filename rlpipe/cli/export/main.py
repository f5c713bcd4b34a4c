"""`rlpipe export RUN [DIR]`: a run's model as a folder for the hub, or for llama.cpp, Ollama and vLLM; verified."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rlpipe.cli.commands import page
from rlpipe.cli.exits import DONE
from rlpipe.cli.export import folder, targets
from rlpipe.cli.export.push import licence_of
from rlpipe.core.errors import ConfigError, Problem
from rlpipe.core.terminal import count, duration, say
from rlpipe.models.card import name
from rlpipe.stages.named import run_named

ABOUT = (
    "Write a run's model as a folder that the hub and all that reads transformers models take: weights, tokenizer and "
    "a model card. An adapter is merged unless --adapter is given. The folder appears when its model has been loaded "
    "again and has said the same as the run's. --to gguf writes one file for llama.cpp instead, --to ollama such a "
    "file with a Modelfile, and --to vllm prints the command that serves the run's own model; what a format cannot "
    "keep is said."
)
EXAMPLES = [
    ("rlpipe export runs/DATE/TIME my-model", "the merged model, in my-model/"),
    ("rlpipe export RUN --adapter", "the adapter alone, in exports/"),
    ("rlpipe export RUN my-model --push me/my-model", "upload it too, with your own token"),
    ("rlpipe export RUN my.gguf --to gguf --type q8_0", "one file for llama.cpp, in 8 bits"),
    ("rlpipe export RUN my-model --to ollama", "then: cd my-model && ollama create NAME"),
    ("rlpipe export RUN --to vllm --output serve.sh", "the command that serves it"),
]
FOLDER = "folder"
FLAGS = {
    FOLDER: ("folder", "adapter", "base", "license", "push", "private"),
    "gguf": ("folder", "license", "type"),
    "ollama": ("folder", "license", "type"),
    "vllm": ("output",),
}
"""What may be given beside the run and --force, by where the model goes."""


def run(arguments: argparse.Namespace) -> int:
    """Write what is asked for, verify it, and upload it where that is asked for."""
    began = time.monotonic()
    if found := list(_misplaced(arguments)):
        raise ConfigError(found)
    wanted = folder.check(run_named(arguments.run), arguments.adapter, arguments.base, arguments.force)
    if arguments.to == "vllm":
        targets.vllm(wanted, arguments.output)
        return DONE
    if arguments.to != FOLDER and (found := list(targets.problems(wanted, arguments.to))):
        raise ConfigError(found)
    known = name(wanted.run.manifest)
    default = f"{known}.gguf" if arguments.to == "gguf" else f"{known}-ollama" if arguments.to == "ollama" else known
    target = (arguments.folder or Path("exports") / default).expanduser()
    folder.check_target(target)
    from rlpipe.core import logs

    with logs.quiet(Path(os.devnull)):
        if arguments.to == FOLDER:
            _folder(arguments, wanted, target)
        else:
            licence = _licence(arguments, wanted)
            write = targets.gguf if arguments.to == "gguf" else targets.ollama
            write(wanted, target, arguments.type, licence)
        files = [target] if target.is_file() else target.rglob("*")
        size = sum(path.stat().st_size for path in files if path.is_file())
        say(f"exported {count(size)}B in {duration(time.monotonic() - began)}")
        print(target)
        if arguments.push is not None:
            from rlpipe.cli.export import push

            say(f"uploading to {arguments.push}")
            print(push.push(target, arguments.push, True if arguments.private else None))
    return DONE


def _misplaced(arguments: argparse.Namespace) -> Iterator[Problem]:
    """Yield what is given and means nothing for where the model goes."""
    for flag in sorted({flag for flags in FLAGS.values() for flag in flags} - set(FLAGS[arguments.to])):
        if getattr(arguments, flag):
            where = str(arguments.folder) if flag == "folder" else f"--{flag}"
            fix = "leave it out"
            if arguments.to == "vllm" and flag == "folder":
                fix = f"it serves the run's own model; --output {arguments.folder} writes the command there"
            elif flag == "adapter":
                fix = "leave it out: the adapter is merged"
            yield Problem(where, f"means nothing with --to {arguments.to}", fix)


def _folder(arguments: argparse.Namespace, wanted: folder.Wanted, target: Path) -> None:
    from rlpipe.cli.export import push, verify

    if arguments.push is not None:
        push.check(arguments.push)
    licence = _licence(arguments, wanted)
    staged = folder.staging(target)
    try:
        folder.write(wanted, staged, licence)
        say(f"verified: {verify.verify(wanted, staged)}")
        folder.publish(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _licence(arguments: argparse.Namespace, wanted: folder.Wanted) -> str | None:
    """Return the licence that is given, or that of what the model was made from; say where it is not known."""
    licence = arguments.license or licence_of(folder.hub_id(wanted.base))
    if licence is None:
        say("note: the licence of what it was made from is not known here; name it with --license")
    return licence


def parser() -> argparse.ArgumentParser:
    """Return the parser of `rlpipe export`."""
    parser = argparse.ArgumentParser("rlpipe export", **page(ABOUT, EXAMPLES))
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a stage's name")
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="where to (default: exports/<name>)")
    parser.add_argument(
        "--to", choices=tuple(FLAGS), default=FOLDER, help="for the hub (default), llama.cpp, Ollama, or vLLM"
    )
    parser.add_argument(
        "--type", choices=targets.TYPES, help="how matrices are kept in GGUF (default: as in the model, exactly)"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="also write vLLM's command line to a file")
    parser.add_argument("--adapter", action="store_true", help="the LoRA adapter alone instead of the merged model")
    parser.add_argument("--base", metavar="MODEL", help="hub id (or folder) of what the model was made from")
    parser.add_argument("--license", metavar="ID", help="the hub's id of the licence (default: that of the base)")
    parser.add_argument("--force", action="store_true", help="also of a run that has not ended well")
    parser.add_argument("--push", metavar="REPO", help="upload it to user/name, with your own token")
    parser.add_argument("--private", action="store_true", help="the new repository is yours alone")
    return parser
