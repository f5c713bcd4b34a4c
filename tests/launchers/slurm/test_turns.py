"""Several arms of one SLURM job: each has its verdict, and what stops the job loses none of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlpipe.config.launchers import SlurmConfig
from rlpipe.launchers.base import JobStatus, Phase
from rlpipe.launchers.slurm import launcher as module
from rlpipe.launchers.slurm.arrays import arrays
from rlpipe.launchers.slurm.launcher import SlurmLauncher
from rlpipe.launchers.slurm.problems import problems
from rlpipe.launchers.slurm.script import text
from rlpipe.launchers.slurm.turns import CANCEL
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep, write_outcome
from tests.launchers.slurm.work import Steps

ROOT = Path(__file__).parents[3]


def fine() -> None: ...


def raises() -> None:
    raise ValueError("boom")


def made(folder: Path, count: int, **settings: object) -> Sweep:
    sweep = Sweep.create(
        folder / "sweep", launcher="slurm", settings={"gpus": 0, "grace": 60, **settings}, cwd=str(ROOT), code={}
    )
    for number in range(count):
        job = Job(str(number), Kind.arm, (), str(folder / str(number)))
        sweep.add([job])
        sweep.job_folder(job).mkdir(parents=True)
    return sweep


def test_arms_share_tasks_and_stages_do_not() -> None:
    jobs = [Job(f"s{number}", Kind.stage, (), "") for number in range(2)]
    jobs += [Job(str(number), Kind.arm, (), "") for number in range(7)]
    stages, *arms = arrays(jobs, 2, None, 3)
    assert stages.ids("8") == {"s0": "8_0", "s1": "8_1"}
    assert [one.ids("9") for one in arms] == [
        {**dict.fromkeys("012", "9_0"), **dict.fromkeys("345", "9_1")},
        {"6": "9_0"},
    ]
    assert [one.at_once for one in arrays(jobs, 1001, 2, 3)] == [None, 2]


def test_a_batch_script_hands_each_task_its_folders(tmp_path: Path) -> None:
    tasks = [[tmp_path / "it's", tmp_path / "a b"], [tmp_path / "c"]]
    for folder in (one for folders in tasks for one in folders):
        folder.mkdir()
    whole = text(SlurmConfig(arms_per_job=2), tasks, tmp_path, cwd=str(tmp_path))
    assert "rlpipe.launchers.slurm.turns" in whole
    lines = whole[whole.index("tasks=(") :].partition("\nsrun")[0]
    told = [
        subprocess.run(
            ["bash", "-c", f'{lines}\nprintf "%s|" "${{folders[@]}}"'], env={"SLURM_ARRAY_TASK_ID": str(task)}
        )
        for task in (0, 1)
    ]
    assert [one.returncode for one in told] == [0, 0]
    assert (tmp_path / "it's" / "log.txt").read_text() == f"{tmp_path / 'it'}'s|{tmp_path / 'a b'}|"
    assert (tmp_path / "c" / "log.txt").read_text() == f"{tmp_path / 'c'}|"


@pytest.mark.parametrize(("settings", "refused"), [({"gpus": 2}, True), ({"nodes": 2}, True), ({"gpus": 1}, False)])
def test_runs_of_several_processes_do_not_share_a_job(tmp_path: Path, settings: dict, refused: bool) -> None:
    found = problems(SlurmConfig(arms_per_job=4, **settings), tmp_path)
    assert ("hydra.launcher.arms_per_job" in {one.where for one in found}) == refused


class Watching:
    """A launcher of three arms in one job, of which the first has ended and the second runs; SLURM is not asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.sweep = made(folder, 3, arms_per_job=3)
        self.sweep.submitted("slurm", list("012"), job_ids=dict.fromkeys("012", "9_0"))
        for key, ended in (("0", Ended.ok), ("1", Ended.running)):
            write_outcome(self.folder(key), Outcome(ended, job_id="9_0"))
        self.launcher = SlurmLauncher(self.sweep)
        self.asked: list[tuple[str, ...]] = []
        monkeypatch.setattr(
            self.launcher.queue, "look", lambda ids: {one: JobStatus(Phase.running, one) for one in ids}
        )
        monkeypatch.setattr(module, "ask", lambda *command: self.asked.append(command))

    def folder(self, key: str) -> Path:
        return self.sweep.folder / ".launch" / key

    def cancel(self, *keys: str) -> None:
        self.launcher.cancel([job for job in self.sweep.jobs if job.key in keys])


def test_who_waits_for_a_turn_is_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(tmp_path, monkeypatch)
    seen = watching.launcher.statuses(watching.sweep.jobs)
    assert [seen[key].phase for key in "012"] == [Phase.gone, Phase.running, Phase.queued]
    assert seen["2"].reason == "waits for its turn in job 9_0"


@pytest.mark.parametrize(("keys", "marked", "scancelled"), [("1", ["1"], False), ("2", ["2"], False), ("12", [], True)])
def test_cancelling_one_leaves_the_others_their_job(tmp_path, monkeypatch, keys: str, marked: list, scancelled) -> None:
    watching = Watching(tmp_path, monkeypatch)
    watching.cancel(*keys)
    assert [key for key in "012" if (watching.folder(key) / CANCEL).exists()] == marked
    assert watching.asked == [("scancel", "--quiet", "9_0")] * scancelled
    ended = {job.key: watching.sweep.outcome(job) for job in watching.sweep.jobs}
    assert {key for key, outcome in ended.items() if outcome and outcome.ended is Ended.cancelled} == set(keys)


@pytest.mark.slow
def test_each_arm_has_its_verdict_and_a_stopped_job_goes_on_with_what_is_left(tmp_path: Path) -> None:
    from rlpipe.sweep.job import freeze

    works = {key: Steps(tmp_path / f"run-{key}", 30) for key in "24"}
    sweep = made(tmp_path, 6, arms_per_job=6)
    for job, work in zip(sweep.jobs, (fine, raises, works["2"], fine, works["4"], fine), strict=True):
        freeze(sweep, job, work)  # type: ignore[arg-type]
    (sweep.job_folder(sweep.jobs[3]) / CANCEL).touch()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho JobState=RUNNING\necho $1 >> {tmp_path}/asked\n")
    scontrol.chmod(0o755)
    path = f"{scontrol.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SLURM_JOB_ID": "9", "SLURMD_NODENAME": "here"}
    command = [
        sys.executable,
        "-m",
        "rlpipe.launchers.slurm.turns",
        *(str(sweep.job_folder(job)) for job in sweep.jobs),
    ]

    def ended() -> list[str | None]:
        outcomes = [sweep.outcome(job) for job in sweep.jobs]
        return [outcome and outcome.ended.value for outcome in outcomes]

    def until(met: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not met():
            assert time.monotonic() < deadline, ended()
            time.sleep(0.05)

    first = subprocess.Popen(command, env=environment)
    until(lambda: len(works["2"].steps) > 3)
    first.send_signal(signal.SIGUSR2)
    assert first.wait(60) == 75
    assert ended() == ["ok", "failed", "stopped", None, None, None]
    assert (tmp_path / "asked").read_text().split() == ["--oneliner", "requeue"]
    again = subprocess.Popen(command, env={**environment, "SLURM_RESTART_COUNT": "1"})
    until(lambda: len(works["4"].steps) > 3)
    (sweep.job_folder(sweep.jobs[4]) / CANCEL).touch()
    assert again.wait(60) == 0
    assert ended() == ["ok", "failed", "ok", None, "cancelled", "ok"]
    assert works["2"].steps == list(range(30))
    assert [sweep.outcome(sweep.jobs[place]).attempt for place in (0, 1, 2)] == [1, 1, 2]  # type: ignore[union-attr]
    logs = [(sweep.job_folder(job) / "log.txt") for job in sweep.jobs]
    assert "ValueError: boom" in logs[1].read_text()
    assert "stopped by SIGUSR2; queued again" in logs[2].read_text()


@pytest.mark.slurm
def test_arms_of_one_job_on_a_cluster(study, cluster, tmp_path: Path) -> None:
    works = {key: Steps(tmp_path / key, 20) for key in "012"}
    study = study({**works, "3": raises}, arms_per_job=2)
    study.launcher.submit(study.sweep.jobs)
    ids = [study.job_id(key) for key in "0123"]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    study.until(lambda: len(works["0"].steps) > 3)
    cluster.call("scancel", "--signal=USR2", ids[0])
    study.until(lambda: study.ended("0") == "stopped")
    assert study.all_over() == {**dict.fromkeys("012", "ok"), "3": "failed"}
    assert all(work.steps == list(range(20)) for work in works.values())
    assert [len(works[key].attempts) for key in "012"] == [2, 1, 1]
