"""A sweep of two arms after a stage, a third without, and a SageMaker that runs none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlpipe.launchers.sagemaker.jobs import TrainingJob
from rlpipe.launchers.sagemaker.launcher import SageMakerLauncher
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep
from rlpipe.records.sweep import write_outcome as write
from tests.launchers.sagemaker.account import SETTINGS
from tests.launchers.sagemaker.memory import FakeJobs, FakeS3


class Made:
    """A sweep in an account that is a dictionary; a clock of its own passes when it is told to."""

    def __init__(self, sweep: Sweep):
        self.sweep, self.now, self.s3, self.cloud = sweep, 0.0, FakeS3(), FakeJobs()
        self.jobs = {job.key: job for job in sweep.jobs}
        self.launcher = self.another()

    def another(self) -> SageMakerLauncher:
        """Return the launcher as another process makes it."""
        made = SageMakerLauncher(self.sweep)
        made.cloud._clients["s3"] = self.s3
        made.jobs = made.queue.jobs = made.queue.home.jobs = self.cloud  # type: ignore[assignment]
        made.queue._clock = lambda: self.now
        return made

    def look(self, seconds: float = 60.0) -> dict[str, Any]:
        """Return how jobs stand after so many seconds."""
        self.now += seconds
        return dict(self.launcher.statuses(self.sweep.jobs))

    def name(self, key: str, suffix: str = "") -> str:
        """Return the name of a job's newest submission."""
        return [row["job_ids"][key] for row in self.sweep.submissions if key in row["keys"]][-1] + suffix

    def becomes(self, key: str, status: str, stage: str = "", words: str = "", suffix: str = "") -> None:
        self.cloud.known[self.name(key, suffix)] = TrainingJob(status, stage or status, words, "ml.m5.large")

    def leaves(self, key: str, path: str, content: str) -> None:
        """Leave a file in S3 as a job's container does, by its path under the checkpoints."""
        self.s3.content["/".join(("rlpipe", *self.launcher.queue.home.parts(self.jobs[key]), path))] = content.encode()

    def says(self, key: str, ended: Ended, error: str | None = None) -> None:
        """Leave an outcome as the job's newest attempt does."""
        folder = self.sweep.folder.parent / "there"
        folder.mkdir(exist_ok=True)
        write(folder, Outcome(ended, error=error, job_id=self.name(key)))
        self.leaves(key, f"sweep/.launch/{key}/outcome.json", (folder / "outcome.json").read_text())

    def ends(self, key: str, ended: Ended) -> None:
        """Let a job end well or not, with what it says of that."""
        self.says(key, ended)
        self.becomes(key, "Completed" if ended is Ended.ok else "Failed")

    def ended(self, key: str) -> tuple[str, str | None]:
        outcome = self.sweep.outcome(self.jobs[key])
        assert outcome is not None
        return outcome.ended.value, outcome.error


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")

    def make(**settings: Any) -> Made:
        fields = {**SETTINGS, **settings}
        folder = tmp_path / "my sweep"
        sweep = Sweep.create(folder, launcher="sagemaker", settings=fields, cwd=str(tmp_path), code={})
        stage = str(tmp_path / "store" / "sft")
        sweep.add(
            [
                Job("sft", Kind.stage, (), stage),
                *(Job(key, Kind.arm, (), str(folder / key), ("sft",)) for key in "01"),
                Job("2", Kind.arm, (), str(folder / "2")),
            ]
        )
        Path(stage).mkdir(parents=True)
        for job in sweep.jobs:
            sweep.job_folder(job).mkdir(parents=True)
            (sweep.job_folder(job) / "job.pkl").write_text(f"work of {job.key}")
        return Made(sweep)

    return make
