"""A sweep of two arms after a stage, a third without, and a Ray that runs none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlpipe.launchers.ray.launcher import RayLauncher
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep, write_outcome
from tests.launchers.ray.fake import FakeCluster


class Made:
    """A sweep on a fake cluster; a clock of its own passes when it is told to."""

    def __init__(self, sweep: Sweep, cluster: FakeCluster):
        self.sweep, self.cluster, self.now = sweep, cluster, 0.0
        self.jobs = {job.key: job for job in sweep.jobs}
        self.launcher = self.another()

    def another(self) -> RayLauncher:
        """Return the launcher as another process makes it."""
        made = RayLauncher(self.sweep)
        made.cluster = made.queue.cluster = self.cluster  # type: ignore[assignment]
        made.queue._clock = lambda: self.now
        return made

    def look(self, seconds: float = 10.0) -> dict[str, Any]:
        """Return how jobs stand after so many seconds, and one look in between."""
        for _ in range(2):
            self.now += seconds
            seen = self.launcher.statuses(self.sweep.jobs)
        return dict(seen)

    def id(self, key: str, suffix: str = "") -> str:
        """Return the id of a job's newest submission."""
        return [row["job_ids"][key] for row in self.sweep.submissions if key in row["keys"]][-1] + suffix

    def tell(self, key: str, ended: Ended, error: str | None = None) -> None:
        """Write an outcome as the job's newest attempt does."""
        write_outcome(self.sweep.job_folder(self.jobs[key]), Outcome(ended, error=error, job_id=self.id(key)))

    def ended(self, key: str) -> tuple[str, str | None]:
        outcome = self.sweep.outcome(self.jobs[key])
        assert outcome is not None
        return outcome.ended.value, outcome.error


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    def make(**settings: Any) -> Made:
        sweep = Sweep.create(tmp_path / "my sweep", launcher="ray", settings=settings, cwd=str(tmp_path), code={})
        sweep.add(
            [
                Job("sft", Kind.stage, (), str(tmp_path / "sft")),
                *(Job(key, Kind.arm, (), str(tmp_path / key), ("sft",)) for key in "01"),
                Job("2", Kind.arm, (), str(tmp_path / "2")),
            ]
        )
        for job in sweep.jobs:
            sweep.job_folder(job).mkdir(parents=True)
        return Made(sweep, FakeCluster())

    return make
