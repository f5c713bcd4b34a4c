"""`rlpipe export RUN [DIR]`: a run's model as a folder for the hub, verified, and on request uploaded."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path

from rlpipe.cli.commands import page
from rlpipe.cli.exits import DONE
from rlpipe.cli.export import folder
from rlpipe.cli.export.push import licence_of
from rlpipe.core.terminal import count, duration, say
from rlpipe.models.card import name
from rlpipe.stages.named import run_named

ABOUT = (
    "Write a run's model as a folder that the hub and all that reads transformers models take: weights, tokenizer and "
    "a model card. An adapter is merged unless --adapter is given. The folder appears when its model has been loaded "
    "again and has said the same as the run's."
)
EXAMPLES = [
    ("rlpipe export runs/DATE/TIME my-model", "the merged model, in my-model/"),
    ("rlpipe export RUN --adapter", "the adapter alone, in exports/"),
    ("rlpipe export RUN my-model --push me/my-model", "upload it too, with your own token"),
]


def run(arguments: argparse.Namespace) -> int:
    """Write the folder, verify it, and upload it where that is asked for."""
    began = time.monotonic()
    found = run_named(arguments.run)
    wanted = folder.check(found, arguments.adapter, arguments.base, arguments.force)
    target = (arguments.folder or Path("exports") / name(found.manifest)).expanduser()
    folder.check_target(target)
    from rlpipe.core import logs

    with logs.quiet(Path(os.devnull)):
        from rlpipe.cli.export import push, verify

        if arguments.push is not None:
            push.check(arguments.push)
        licence = arguments.license or licence_of(folder.hub_id(wanted.base))
        staged = folder.staging(target)
        try:
            folder.write(wanted, staged, licence)
            say(f"verified: {verify.verify(wanted, staged)}")
            folder.publish(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        if licence is None:
            say("note: the licence of what it was made from is not known here; name it with --license")
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        say(f"exported {count(size)}B in {duration(time.monotonic() - began)}")
        print(target)
        if arguments.push is not None:
            say(f"uploading to {arguments.push}")
            print(push.push(target, arguments.push, True if arguments.private else None))
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of `rlpipe export`."""
    parser = argparse.ArgumentParser("rlpipe export", **page(ABOUT, EXAMPLES))
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a stage's name")
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="where to (default: exports/<name>)")
    parser.add_argument("--adapter", action="store_true", help="the LoRA adapter alone instead of the merged model")
    parser.add_argument("--base", metavar="MODEL", help="hub id (or folder) of what the model was made from")
    parser.add_argument("--license", metavar="ID", help="the hub's id of the licence (default: that of the base)")
    parser.add_argument("--force", action="store_true", help="also of a run that has not ended well")
    parser.add_argument("--push", metavar="REPO", help="upload it to user/name, with your own token")
    parser.add_argument("--private", action="store_true", help="the new repository is yours alone")
    return parser
