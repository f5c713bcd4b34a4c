"""Whatever kills or stops the jobs of a sweep, in whatever place: in the end all is as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rlpipe.launchers.base import Phase, launcher_of
from rlpipe.records.sweep import Job, Kind, Sweep
from rlpipe.sweep.job import freeze
from tests.launchers.chain import EVERY, Chain
from tests.launchers.sagemaker.account import SETTINGS as SAGEMAKER

pytestmark = [pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
RAY = {"gpus": 0, "cpus": 1, "grace": 30, "poll": 0.3}
SLURM = {"gpus": 0, "cpus": 1, "memory": "300M", "time": "10", "grace": 60, "poll": 0.2}
LOCAL = pytest.param("local", marks=pytest.mark.slow)
ON_SLURM = pytest.param("slurm", marks=pytest.mark.slurm)
ON_RAY = pytest.param("ray", marks=pytest.mark.ray)
ON_SAGEMAKER = pytest.param("sagemaker", marks=pytest.mark.slow)
LIMITS = {"ray": {"time": "0:30", "grace": 15}, "sagemaker": {"time": "0:25"}}
"""Time limits at which a job of 25 seconds goes on once, where they are not whole minutes."""
ELSEWHERE = """
import os, sys
from rlpipe.launchers.base import launcher_of
from rlpipe.records.sweep import Sweep
sweep, keys = Sweep.load(sys.argv[1]), sys.argv[2].split(",")
launcher_of(sweep).submit([job for job in sweep.jobs if job.key in keys])
os.kill(os.getpid(), 9)
"""


class Watched:
    """A sweep with somebody who looks after it."""

    def __init__(self, sweep: Sweep):
        self.sweep, self.launcher = sweep, launcher_of(sweep)
        self.jobs = {job.key: job for job in sweep.jobs}

    def submit(self, *keys: str) -> None:
        """Submit jobs from a process that is killed at once."""
        command = [sys.executable, "-c", ELSEWHERE, str(self.sweep.folder), ",".join(keys)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr

    def ended(self) -> dict[str, str | None]:
        outcomes = {key: self.sweep.outcome(job) for key, job in self.jobs.items()}
        return {key: outcome and outcome.ended.value for key, outcome in outcomes.items()}

    def until(self, met: Callable[[], Any], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while True:
            seen = self.launcher.statuses(self.sweep.jobs)
            if met():
                return
            if time.monotonic() > deadline:
                logs = [(self.sweep.job_folder(job) / "log.txt") for job in self.sweep.jobs]
                text = "\n".join(log.read_text()[-1500:] for log in logs if log.exists())
                pytest.fail(f"not within {seconds} s: {seen}\n{self.ended()}\n{text}")
            time.sleep(0.1)

    def phase(self, key: str) -> Phase:
        return self.launcher.statuses(self.sweep.jobs)[key].phase


Make = Callable[..., Watched]


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return a launcher and fields of it for small jobs, once its place is there."""
    if request.param == "local":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield "local", {"jobs": 3}
    elif request.param == "slurm":
        request.getfixturevalue("cluster")
        yield "slurm", dict(SLURM)
    elif request.param == "sagemaker":
        account = request.getfixturevalue("account")
        account.sagemaker.hidden = [tmp_path / "multirun"]
        yield "sagemaker", {**SAGEMAKER, "python": sys.executable, "poll": 4.0}
    else:
        yield "ray", {**RAY, "address": request.getfixturevalue("head").address}


@pytest.fixture
def make(settings: tuple[str, dict[str, Any]], tmp_path: Path) -> Make:
    def make(works: Mapping[str, Chain], **more: Any) -> Watched:
        launcher, fields = settings
        folder = tmp_path / "multirun" / "sweep"
        sweep = Sweep.create(folder, launcher=launcher, settings={**fields, **more}, cwd=str(ROOT), code={})
        for key, work in works.items():
            job = Job(key, Kind.arm, (), str(work.folder))
            work.outside.mkdir(parents=True)
            sweep.add([job])
            freeze(sweep, job, work)  # type: ignore[arg-type]
        return Watched(sweep)

    return make


@pytest.fixture
def chain(tmp_path: Path) -> Callable[..., Chain]:
    return lambda key, **how: Chain(tmp_path / "multirun" / "sweep" / key, tmp_path / "outside" / key, **how)


@pytest.mark.parametrize("settings", [LOCAL, ON_SLURM, ON_RAY, ON_SAGEMAKER], indirect=True)
def test_a_killed_a_cancelled_and_an_undisturbed_job_end_alike(make: Make, chain: Callable[..., Chain]) -> None:
    works = {key: chain(key) for key in "012"}
    watched = make(works)
    watched.submit(*works)
    watched.until(lambda: all(work.is_in_the_midst for work in works.values()))
    watched.until(lambda: watched.ended() == dict.fromkeys("012", "running"))
    outcome = watched.sweep.outcome(watched.jobs["0"])
    assert outcome is not None
    os.kill(outcome.pid, signal.SIGKILL)
    watched.launcher.cancel([watched.jobs["1"]])
    watched.until(lambda: watched.ended() == {"0": "failed", "1": "cancelled", "2": "running"})
    watched.until(lambda: watched.phase("1") is Phase.gone)
    for work in works.values():
        work.let_go()
    watched.submit("0", "1")
    watched.until(lambda: watched.ended() == dict.fromkeys("012", "ok"))
    assert all(work.whole for work in works.values())
    half = works["0"].count // 2
    assert [work.begins for work in works.values()] == [[0, half // EVERY * EVERY], [0, half], [0]]


@pytest.mark.parametrize("settings", [ON_RAY, ON_SAGEMAKER], indirect=True)
def test_a_job_that_is_slow_to_save_has_its_grace_and_one_that_outlasts_its_time_goes_on(
    make: Make, chain: Callable[..., Chain], settings: tuple[str, dict[str, Any]]
) -> None:
    """SLURM's limits are minutes: its own tests have this. Jobs on this machine have none."""
    works = {"0": chain("0", saving=6.0), "1": chain("1", count=10, waits=False, pause=2.5)}
    watched = make(works, **LIMITS[settings[0]])
    watched.submit("0", "1")
    watched.until(lambda: works["0"].is_in_the_midst)
    watched.launcher.cancel([watched.jobs["0"]])
    assert watched.ended()["0"] == "cancelled"
    works["0"].let_go()
    watched.submit("0")
    watched.until(lambda: watched.ended() == {"0": "ok", "1": "ok"})
    assert all(work.whole for work in works.values())
    assert works["0"].begins == [0, works["0"].count // 2], "it was killed while it saved"
    begins = works["1"].begins
    assert len(begins) > 1
    assert begins == sorted(set(begins)), "an attempt began where an earlier one had"


@pytest.mark.parametrize("settings", [ON_RAY, ON_SAGEMAKER], indirect=True)
def test_a_job_that_loses_what_it_runs_on_is_given_to_another(
    make: Make, chain: Callable[..., Chain], request: pytest.FixtureRequest
) -> None:
    """SLURM's own tests have this; what this machine loses, its jobs lose too."""
    work = chain("0")
    watched = make({"0": work})
    watched.submit("0")
    watched.until(lambda: work.is_in_the_midst)
    work.let_go()
    if watched.sweep.data["launcher"] == "ray":
        _lose_supervisor(watched)
    else:
        [job_id] = [seen.job_id for seen in watched.launcher.statuses(watched.sweep.jobs).values()]
        request.getfixturevalue("account").sagemaker.interrupt(job_id)
    watched.until(lambda: watched.ended() == {"0": "ok"})
    assert len(work.begins) == 2
    assert work.whole


def _lose_supervisor(watched: Watched) -> None:
    import psutil

    outcome = watched.sweep.outcome(watched.jobs["0"])
    assert outcome is not None
    task = psutil.Process(outcome.pid).parent()
    assert task is not None
    supervisor = task.parent()
    assert supervisor is not None
    supervisor.kill()
