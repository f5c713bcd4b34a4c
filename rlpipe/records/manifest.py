"""A run's manifest, kept twice: where one of the two is damaged or gone, the other stands for it."""

from __future__ import annotations

from pathlib import Path

from rlpipe.core.errors import RecordError
from rlpipe.core.files import Row, json_text, read_json, write_atomic
from rlpipe.core.shapes import NUMBER, Shape

FILE, COPY = "manifest.json", "manifest.copy.json"

_NAMED = {"name?": str}
_SEAL = {"size?": int, "sha256": str, "rows?": int}
_ATTEMPT = {
    "started": str,
    "outcome?": str,
    "seconds?": NUMBER,
    "processes?": int,
    "resumed_processes?": int,
    "code?": {"untracked?": [str]},
    "packages?": {str: str},
    "hardware?": {"gpus?": list},
    "diff?": str,
    "logged_until?": int,
}
CONFIG: Shape = {
    **{f"{kind}?": _NAMED for kind in ("model", "dataset", "method", "environment", "tracker")},
    **{f"{kind}?": {str: dict} for kind in ("reward", "tool", "evaluation")},
    "after?": [str],
    "hardware?": dict,
    "log?": dict,
    "seed?": int,
    "until?": str,
}
SHAPE: Shape = {
    "id?": str,
    "created?": str,
    "seed?": int,
    "config": CONFIG,
    "overrides": [str],
    "notes?": [str],
    "parents?": {str: str},
    "attempts?": [_ATTEMPT],
    "model?": {str: str},
    "data_files?": {str: str},
    "reference_files?": {str: str},
    "files?": {str: _SEAL},
    "best_weights?": {str: str},
    "inputs?": {str: {str: _SEAL}},
    "data?": {str: dict},
    "reused?": {str: {str: str}},
}


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run's manifest, whole or not."""
    return any((folder / name).is_file() for name in (FILE, COPY))


def read(folder: Path) -> Row | None:
    """Return the manifest of a run's folder, None where there is none. Raises RecordError where neither can be used."""
    wrong: list[RecordError] = []
    for name in (FILE, COPY):
        try:
            found = read_json(folder / name, f"put {FILE} or {COPY} back from a backup, or name another run_dir", SHAPE)
        except RecordError as error:
            wrong.append(error)
        else:
            if found is not None:
                return found
    if wrong:
        raise wrong[0]
    return None


def write(folder: Path, manifest: Row) -> None:
    """Replace the manifest."""
    for name in (FILE, COPY):
        write_atomic(folder / name, json_text(manifest))
