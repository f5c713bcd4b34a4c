"""What runs inside a container: `python -m rlpipe.launchers.sagemaker.task SWEEP/.launch/KEY VERSIONS`.

SageMaker asks to stop by SIGTERM, at the time limit, at an interruption and when somebody ends the job, and kills after
120 seconds; which it was shows outside, where it is decided what comes next. Nothing else writes to the folders of
this job, so that the right to write that an interrupted attempt has left behind is nobody's.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rlpipe.config.launchers import SageMakerConfig
from rlpipe.core.files import remove
from rlpipe.launchers import work
from rlpipe.launchers.attempt import Attempt
from rlpipe.records import lease
from rlpipe.records.provenance import packages
from rlpipe.records.sweep import FAILED, JOB_ID, Ended, Kind, Outcome, Sweep, write_outcome

GRACE = 120.0
"""Seconds that SageMaker leaves between asking and killing."""


class Task(Attempt):
    """One job's work in a container."""

    asks = False

    def __init__(self, folder: Path, versions: Mapping[str, str]):
        """Read what the sweep's folder says of the job; `versions` are those of the packages where it was submitted."""
        self.config = SageMakerConfig.of(Sweep.load(folder.parents[1]).data.get("settings", {}))
        super().__init__(folder, None, GRACE)
        self.versions = versions

    @property
    def several(self) -> bool:
        """Whether the job's run has more than one process."""
        return self.config.gpus > 1

    def run(self) -> int:
        """Run the work, unless it would make another stage than the one that is wanted."""
        for folder in (self.folder.parent, Path(self.job.run_dir)):
            remove(folder / lease.FOLDER)
        if problem := self._other_packages():
            write_outcome(self.folder, Outcome(Ended.failed, error=problem, job_id=os.environ.get(JOB_ID)))
            print(f"rlpipe: {problem}", file=sys.stderr, flush=True)
            return FAILED
        return super().run()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the work."""
        python = shlex.split(self.config.python)
        return work.start_here(self.folder, python, self.config.gpus, os.environ[JOB_ID])

    def queue_again(self) -> str:
        """Leave it to SageMaker, and to who looks at the sweep; return that, in words."""
        return "after an interruption or at the time limit it goes on"

    def _other_packages(self) -> str | None:
        """Return in what the image's packages differ, where stages depend on it: their names hold these versions."""
        here = packages()
        other = [
            f"{name} {version} where it was submitted, {here.get(name, 'none')} in the image"
            for name, version in self.versions.items()
            if here.get(name) != version
        ]
        store = self.sweep.data.get("store")
        reads = store is not None and any(Path(one).is_relative_to(store) for one in self.job.reads)
        stages = self.job.kind is Kind.stage or self.job.needs or reads
        if not other or not stages:
            return None
        fix = "make the image with the packages of where you submit (docs/sagemaker.md), or submit with the image's"
        return f"stages are named by packages, and these differ: {'; '.join(other)}; {fix}"


def main(arguments: list[str]) -> int:
    """Run the job whose folder is named, and return the exit code."""
    if len(arguments) != 2:
        print("usage: python -m rlpipe.launchers.sagemaker.task SWEEP/.launch/KEY VERSIONS", file=sys.stderr)
        return 2
    return Task(Path(arguments[0]).resolve(), json.loads(arguments[1])).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
