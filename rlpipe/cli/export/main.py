"""`rlpipe export RUN [DIR]`: a run's model as a folder for the hub, verified, and on request uploaded."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

from rlpipe.cli.exits import DONE, leave
from rlpipe.cli.export import folder
from rlpipe.cli.export.push import licence_of
from rlpipe.core.terminal import count, duration, say
from rlpipe.models.card import name
from rlpipe.stages.named import run_named


def main() -> NoReturn:
    """Run the command line in `sys.argv` and exit: 0 done, 2 something to mend."""
    leave(partial(_command, _parser().parse_args()))


def _command(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    run = run_named(arguments.run)
    wanted = folder.check(run, arguments.adapter, arguments.base, arguments.force)
    target = (arguments.folder or Path("exports") / name(run.manifest)).expanduser()
    folder.check_target(target)
    from rlpipe.core import logs

    with logs.quiet(Path(os.devnull)):
        from rlpipe.cli.export import push, verify

        if arguments.push is not None:
            push.check(arguments.push)
        licence = arguments.license or licence_of(folder.hub_id(wanted.base))
        beside = folder.staging(target)
        try:
            folder.write(wanted, beside, licence)
            say(f"verified: {verify.verify(wanted, beside)}")
            folder.publish(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        if licence is None:
            say("note: the licence of what it was made from is not known here; name it with --license")
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        say(f"exported {count(size)}B in {duration(time.monotonic() - began)}")
        print(target)
        if arguments.push is not None:
            say(f"uploading to {arguments.push}")
            print(push.push(target, arguments.push, True if arguments.private else None))
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("rlpipe export", description=__doc__.partition(": ")[2])
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a stage's name")
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="where to (default: exports/<name>)")
    parser.add_argument("--adapter", action="store_true", help="the LoRA adapter alone instead of the merged model")
    parser.add_argument("--base", metavar="MODEL", help="hub id (or folder) of what the model was made from")
    parser.add_argument("--license", metavar="ID", help="the hub's id of the licence (default: that of the base)")
    parser.add_argument("--force", action="store_true", help="also of a run that has not ended well")
    parser.add_argument("--push", metavar="REPO", help="upload it to user/name, with your own token")
    parser.add_argument("--private", action="store_true", help="the new repository is yours alone")
    return parser


if __name__ == "__main__":
    main()
