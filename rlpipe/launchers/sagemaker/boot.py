"""What a container begins with: `python /opt/ml/input/data/rlpipe/THIS PLAN`, both by their content's names.

It imports nothing that Python itself does not have, lays out what the plan says with the paths that it had where the
job was submitted, and becomes the job's task. What the job writes is among the checkpoints.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

COPY, KEEP, LINK = "copy", "keep", "link"
"""How a file is put in its place: always, only where there is none yet, or as a link to what SageMaker has brought."""


def main(plan_name: str) -> None:
    """Lay out what a plan says, and become what it begins."""
    channel = Path(__file__).absolute().parent
    base = channel.parents[2]
    plan = json.loads((channel / plan_name).read_bytes())
    code = base / "code"
    with zipfile.ZipFile(channel / plan["code"]) as archive:
        archive.extractall(code)
    for name, content in plan["carried"].items():
        (code / name).write_text(json.dumps(content))
    for place, name in plan["links"].items():
        _link(Path(place), base / "checkpoints" / name)
    for content, place, how in plan["files"]:
        _put(channel / content, Path(place), how)
    os.makedirs(plan["cwd"], exist_ok=True)
    os.chdir(plan["cwd"])
    environment = {**os.environ, **plan["environment"]}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), environment.get("PYTHONPATH")]))
    os.execvpe("sh", ["sh", "-c", plan["script"]], environment)


def _link(place: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def _put(content: Path, place: Path, how: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if how == COPY or (how == KEEP and not place.exists()):
        shutil.copyfile(content, place)
    elif how == LINK and not place.exists():
        place.symlink_to(content)


if __name__ == "__main__":
    main(sys.argv[1])
