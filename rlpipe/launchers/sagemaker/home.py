"""Fetching what jobs have left in S3 and in CloudWatch, into the sweep's folder.

Checkpoints stay where they are: only a job that goes on needs them, and it finds them there. What was fetched stands in
a file of the job's folder, so that nothing is fetched twice, whoever looks.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rlpipe.core.files import append, json_text, read_json, remove, write_atomic
from rlpipe.core.shapes import NUMBER, Shape
from rlpipe.launchers.sagemaker.bucket import Bucket
from rlpipe.launchers.sagemaker.cargo import RUN, SWEEP
from rlpipe.launchers.sagemaker.jobs import Jobs, Read
from rlpipe.launchers.verdict import is_final
from rlpipe.records.lease import Taken, acquire
from rlpipe.records.sweep import EXTENDED, Job, Sweep

LATE = 60.0
"""Seconds for which CloudWatch may still get lines of a job that has ended."""
_LEFT_THERE = ("checkpoints", ".lease", ".users")
_OUTCOME = "outcome.json"
_RUNNING = b'"ended": "running"'
"""What an outcome holds whose attempt goes on."""
_OURS = ("job.pkl", EXTENDED, "log.txt", "fetched.json")
"""Files of a job's folder that are written here."""
_SHAPE: Shape = {"name": str, "whole": bool, "ended?": NUMBER, "etags": {str: str}, "read": {str: [int]}}


@dataclass
class Fetched:
    """What was fetched of a job."""

    name: str = ""
    """Its training job."""
    whole: bool = False
    """Whether all was fetched that this one has left."""
    ended: float | None = None
    """When it was first seen to have ended."""
    etags: dict[str, str] = field(default_factory=dict)
    """What tells a file from a later one, by its path in the bucket."""
    read: dict[str, list[int]] = field(default_factory=dict)
    """How far its log is read, by stream (`jobs.Read`)."""

    @property
    def is_all(self) -> bool:
        """Whether nothing more is to come."""
        return self.whole and time.time() - (self.ended or 0.0) > LATE


class Home:
    """Brings the results of one sweep home."""

    def __init__(self, sweep: Sweep, bucket: Bucket, jobs: Jobs, folder: str):
        """Take the sweep, and the name of its folder in the bucket."""
        self.sweep, self.bucket, self.jobs, self.folder = sweep, bucket, jobs, folder

    def parts(self, job: Job) -> tuple[str, str, str]:
        """Return the folder of a job's checkpoints in the bucket."""
        return "sweeps", self.folder, job.key

    def bring(self, job: Job, name: str, ended: bool) -> None:
        """Fetch what is new of a job, whose newest training job is named. Raises LaunchError and RecordError."""
        fetched = self.fetched(job)
        if fetched.name != name:
            fetched = dataclasses.replace(fetched, name=name, whole=False, ended=None)
        if fetched.is_all:
            return
        with ExitStack() as held:
            try:
                for folder in self._written(job, ended and not fetched.whole):
                    folder.mkdir(parents=True, exist_ok=True)
                    held.callback(acquire(folder, "bringing results home", patient=False).release)
            except Taken:
                return  # who is at it brings them, or builds the same stage here
            if not fetched.whole:
                self._files(job, fetched, ended)
            self._log(job, fetched)
            fetched.whole = ended
            fetched.ended = (fetched.ended or time.time()) if ended else None
            write_atomic(self._file(job), json_text(dataclasses.asdict(fetched)))

    def _written(self, job: Job, whole: bool) -> Iterator[Path]:
        """Yield the folders that nobody else may write to meanwhile; `whole` says whether all of a job comes."""
        yield self.sweep.folder / ".launch" / "sagemaker"
        if whole and self._is_apart(job):
            yield Path(job.run_dir)

    def _is_apart(self, job: Job) -> bool:
        """Whether a job's folder is in the store, where other sweeps and runs look for it."""
        return not Path(job.run_dir).is_relative_to(self.sweep.folder)

    def fetched(self, job: Job) -> Fetched:
        """Return what was fetched of a job."""
        row = read_json(self._file(job), "delete it: all is fetched again", _SHAPE)
        return Fetched() if row is None else Fetched(**row)

    def _file(self, job: Job) -> Path:
        return self.sweep.job_folder(job) / "fetched.json"

    def _files(self, job: Job, fetched: Fetched, ended: bool) -> None:
        """Fetch files that are new or changed; delete those that were fetched and are gone there.

        The outcome comes last, and one that says that the job is over only when it is: files get there in any order.
        Of a stage nothing comes before.
        """
        there = {path: one for path, one in self.bucket.files(*self.parts(job)).items() if self._place(job, path)}
        for path, stored in sorted(there.items(), key=lambda one: one[0].endswith(_OUTCOME)):
            if path.startswith(f"{RUN}/") and not ended:
                continue
            place = self._place(job, path)
            assert place is not None
            if fetched.etags.get(path) == stored.etag or self._settled(job, place):
                continue
            if place.name == _OUTCOME and not ended and not self.bucket.holds(stored, _RUNNING):
                continue
            if self.bucket.fetch(stored, place):
                fetched.etags[path] = stored.etag
        for path in fetched.etags.keys() - there.keys() if there else ():  # nothing at all: the bucket was emptied
            if (place := self._place(job, path)) is not None and not self._settled(job, place):
                remove(place)
            del fetched.etags[path]

    def _settled(self, job: Job, place: Path) -> bool:
        """Whether a file is a job's outcome that was written here, and is the last word on it."""
        return place.name == _OUTCOME and is_final(self.sweep, job, self.sweep.outcome(job))

    def _place(self, job: Job, path: str) -> Path | None:
        """Return where a file of a job's checkpoints belongs here; None for one that stays there."""
        root, *inner = PurePosixPath(path).parts
        if not inner or inner[-1].endswith(".tmp"):
            return None
        place = (self.sweep.folder if root == SWEEP else Path(job.run_dir)).joinpath(*inner)
        if root not in (SWEEP, RUN) or ".." in inner:
            return None
        if place.parent == self.sweep.job_folder(job):
            return None if place.name in _OURS else place
        if not place.is_relative_to(job.run_dir):
            return None
        left_there = any(part in _LEFT_THERE for part in place.relative_to(job.run_dir).parts)
        return None if left_there else place

    def _log(self, job: Job, fetched: Fetched) -> None:
        before = {stream: Read(*far) for stream, far in fetched.read.items()}
        for stream, text, far in self.jobs.lines(fetched.name, before):
            append(self.sweep.job_folder(job) / "log.txt", text)
            fetched.read[stream] = [far.time, far.events]
