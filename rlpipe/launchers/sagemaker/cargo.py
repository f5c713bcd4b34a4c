"""What a job needs of this machine: rlpipe's code, its frozen work, stages, files and variables; all by content."""

from __future__ import annotations

import functools
import io
import json
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.config.launchers import SageMakerConfig
from rlpipe.core.errors import LaunchError
from rlpipe.core.files import explained
from rlpipe.core.paths import PACKAGE, conf_dir
from rlpipe.launchers import environment
from rlpipe.launchers.sagemaker import boot
from rlpipe.launchers.sagemaker.bucket import Bucket
from rlpipe.records import manifest
from rlpipe.records.provenance import CARRIED, carry, packages, rlpipe_version
from rlpipe.records.sweep import EXTENDED, JOB_ID, Job, Sweep

NAME = "sagemaker"
MOUNT = "/opt/ml"
"""Where a container finds what SageMaker brings, and leaves what SageMaker takes."""
CHANNEL = "rlpipe"
SWEEP, RUN = "sweep", "run"
"""Folders of the checkpoints: the sweep's folder, and that of a run that lies elsewhere."""
_SKIPPED = (".git", "__pycache__", ".lease", ".users", ".venv")


@dataclass(frozen=True)
class Cargo:
    """What a container is given."""

    command: list[str]
    arguments: list[str]
    contents: list[str]
    """The SHA-256 of every file."""


def cargo(sweep: Sweep, config: SageMakerConfig, job: Job, job_id: str, bucket: Bucket) -> Cargo:
    """Put into the bucket what it lacks of a job's needs, and return what its container is given.

    Raises LaunchError for files that are not there, and where the bucket cannot be used.
    """
    files = [(bucket.keep(file), str(place), how) for file, place, how in _files(sweep, config, job)]
    plan = {
        "code": bucket.keep_bytes(code()),
        "carried": {CARRIED: {"here": _carried(Path(sweep.data["cwd"])), "rlpipe": _carried(PACKAGE)}},
        "files": files,
        "links": links(sweep, job),
        "cwd": sweep.data["cwd"],
        "environment": {**environment.kept(sweep, NAME), JOB_ID: job_id},
        "script": _script(sweep, config, job),
    }
    laid_out = bucket.keep_bytes(json.dumps(plan, sort_keys=True).encode())
    begins = bucket.keep(Path(boot.__file__))
    contents = {begins, laid_out, plan["code"], *(digest for digest, _, _ in files)}
    python = shlex.split(config.python)
    return Cargo([*python, f"{MOUNT}/input/data/{CHANNEL}/{begins}"], [laid_out], sorted(contents))


def links(sweep: Sweep, job: Job) -> dict[str, str]:
    """Return which folders lie among the checkpoints, by their paths here."""
    found = {str(sweep.folder): SWEEP}
    if not Path(job.run_dir).is_relative_to(sweep.folder):
        found[job.run_dir] = RUN
    return found


@functools.cache
def code() -> bytes:
    """Return rlpipe's code and options, as they are when this is first asked, as a zip archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, name in sorted(_code(), key=lambda one: one[1]):
            archive.writestr(zipfile.ZipInfo(name), file.read_bytes())
        about = f"Metadata-Version: 2.1\nName: rlpipe\nVersion: {rlpipe_version()}\n"
        archive.writestr(zipfile.ZipInfo(f"rlpipe-{rlpipe_version()}.dist-info/METADATA"), about)
    return content.getvalue()


_carried = functools.cache(carry)
"""Which code a repository holds, as it is when this is first asked."""


def _code() -> Iterator[tuple[Path, str]]:
    for file in _within(PACKAGE):
        yield file, f"rlpipe/{file.relative_to(PACKAGE).as_posix()}"
    if not conf_dir().is_relative_to(PACKAGE):
        for file in _within(conf_dir()):
            yield file, f"rlpipe/conf/{file.relative_to(conf_dir()).as_posix()}"


def _files(sweep: Sweep, config: SageMakerConfig, job: Job) -> Iterator[tuple[Path, Path, str]]:
    """Yield each file of a job with its place there, and how it is put there (`rlpipe.launchers.sagemaker.boot`)."""
    folder = sweep.job_folder(job)
    shared = (sweep.folder / ".launch").glob("app-*.pkl")
    for file in (sweep.folder / "sweep.json", folder / "job.pkl", folder / EXTENDED, *sorted(shared)):
        if file.is_file():
            yield file, file, boot.COPY
    if sweep.frozen_config(job).is_file():
        yield sweep.frozen_config(job), sweep.frozen_config(job), boot.KEEP
    cwd, jobs = Path(sweep.data["cwd"]), {one.key: one for one in sweep.jobs}
    named = [jobs[key].run_dir for key in job.needs] + list(job.reads)
    for path in [*map(Path, named), *((cwd / Path(one).expanduser()) for one in config.files)]:
        if not path.exists():
            fix = "put it back; or take it out of what the job reads, and of hydra.launcher.files"
            raise LaunchError(path, f"is not there, and job {job.key} needs it", fix)
        for file in _within(path):
            yield file, file, boot.LINK


def _within(path: Path) -> Iterator[Path]:
    """Yield a file, or the files of a folder; of a run what it has made, without its checkpoints."""
    if path.is_file():
        yield path
        return
    skipped = (*_SKIPPED, *(("checkpoints",) if manifest.is_run(path) else ()))
    with explained(path, "read"):
        inside = sorted(path.iterdir())
    for inner in inside:
        if inner.name not in skipped and inner.suffix != ".pyc" and (inner.is_file() or inner.is_dir()):
            yield from _within(inner)


def _script(sweep: Sweep, config: SageMakerConfig, job: Job) -> str:
    """Return the shell text that a container becomes once all is in its place."""
    built_with: dict[str, Any] = packages()
    arguments = [str(sweep.job_folder(job)), json.dumps(built_with)]
    task = f"{config.python} -u -m rlpipe.launchers.sagemaker.task {' '.join(map(shlex.quote, arguments))}"
    return "\n".join(["set -e", *config.setup, f"exec {task}"])
