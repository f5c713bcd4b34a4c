"""A sweep of four arms after one stage in a folder, and a launcher that says what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlpipe.config import compose
from rlpipe.launchers.base import JobStatus, Launcher, Phase
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep, write_outcome
from rlpipe.sweep import code


class Told(Launcher):
    """A launcher whose view of jobs is what was put into `seen`; a submitted job is queued."""

    name = "told"

    def __init__(self, sweep: Sweep):
        super().__init__(sweep)
        self.seen: dict[str, JobStatus] = {}

    def problems(self):
        return []

    def submit(self, jobs: Sequence[Job]) -> None:
        self.sweep.submitted(self.name, [job.key for job in jobs])
        self.seen |= {job.key: JobStatus(Phase.queued) for job in jobs}

    def statuses(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        return {job.key: self.seen[job.key] for job in jobs if job.key in self.seen}

    def cancel(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.seen[job.key] = JobStatus(Phase.gone)
            write_outcome(self.sweep.job_folder(job), Outcome(Ended.cancelled, error="cancelled by hand"))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    made = Sweep.create(tmp_path / "sweep", launcher="told", objective=None)
    stage = Job("sft-chat-0123456789ab", Kind.stage, ("method=sft",), str(tmp_path / "store" / "sft"), steps=20)
    arms = [
        Job(
            str(number),
            Kind.arm,
            ("method=dpo", f"seed={number}"),
            str(made.folder / str(number)),
            needs=(stage.key,),
            fields={"seed": str(number)},
            steps=10,
        )
        for number in range(4)
    ]
    made.add([stage, *arms])
    return made


@pytest.fixture
def launcher(sweep: Sweep) -> Told:
    return Told(sweep)


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Jobs that run in the tests' own process leave no compositions behind."""
    before = dict(compose.known)
    yield
    compose.known.clear()
    compose.known.update(before)


@pytest.fixture
def make_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    """Make a sweep of arms `0 … n-1`, and of stages that arms need (`needs={0: ("stage",)}`)."""
    monkeypatch.chdir(tmp_path)

    def make(count: int = 1, needs: dict[int, tuple[str, ...]] | None = None, **settings: Any) -> Sweep:
        study = {"launcher": "local", "settings": {"jobs": None, "wait": True, **settings}, "cwd": str(tmp_path)}
        sweep = Sweep.create(tmp_path / "sweep", code=code.state(tmp_path), objective=None, **study)
        wanted = needs or {}
        stages = dict.fromkeys(key for keys in wanted.values() for key in keys)
        jobs = [Job(key, Kind.stage, (), str(tmp_path / "store" / key)) for key in stages]
        jobs += [
            Job(str(i), Kind.arm, (f"x={i}",), str(sweep.folder / str(i)), wanted.get(i, ()), {"x": str(i)})
            for i in range(count)
        ]
        sweep.add(jobs)
        for job in jobs:
            sweep.job_folder(job).mkdir(parents=True)
        return sweep

    return make
