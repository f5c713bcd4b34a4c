"""A sweep of real runs that are killed again and again ends as an undisturbed one does."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from rlpipe.records.sweep import Job
from tests.launchers.slurm.cluster import Cluster
from tests.launchers.slurm.runs import Watched, manifest, steps, submit, tracked_steps, weights

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS = 120
"""So many that some arm is still at work when the last kill comes."""
ARMS = ("seed=0,1,2", f"method.max_steps={STEPS}", "checkpoint.every=7", "tracker=tensorboard")
KILLS = [*["KILL"] * 2, *["TERM"] * 3, *["USR2"] * 3, "node"]


def test_kills_of_every_kind_change_nothing(cluster: Cluster, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    whole = Watched(submit(tmp_path / "whole", *ARMS))
    whole.until(whole.done, 600)
    killed = Watched(submit(tmp_path / "killed", *ARMS))
    draw = random.Random(0)
    kinds = draw.sample(KILLS, len(KILLS))
    struck: dict[str, int] = {}
    for kind in kinds:
        time.sleep(draw.uniform(0.5, 7))
        _kill(kind, draw, killed, cluster, struck)
    killed.until(lambda: _resume_what_failed(killed) or killed.done(), 900)
    attempts = [len(manifest(arm.run_dir)["attempts"]) for arm in killed.sweep.arms]
    assert sum(attempts) > len(killed.sweep.arms) + 3, "the kills fell where nothing was at work"
    for before, after in zip(whole.sweep.arms, killed.sweep.arms, strict=True):
        assert weights(after.run_dir) == weights(before.run_dir)
        assert steps(after.run_dir) == list(range(1, STEPS + 1))
        assert tracked_steps(after.run_dir) == list(range(1, STEPS + 1))


def _kill(kind: str, draw: random.Random, sweep: Watched, cluster: Cluster, struck: dict[str, int]) -> None:
    """Strike one of the jobs that are at work, waiting for one if need be: one whose attempt no kill has struck yet."""

    def targets() -> list[Job]:
        _resume_what_failed(sweep)
        return [job for job in sweep.running() if _attempts(job) > struck.get(job.key, 0)]

    found = sweep.until(lambda: sweep.done() or targets(), 120)
    if found is True:
        return
    job = draw.choice(found)
    struck[job.key] = _attempts(job)
    if kind == "node":
        node = sweep.launcher.statuses([job])[job.key].place
        assert node is not None
        cluster.lose_node(node)
        time.sleep(1)
        cluster.start_node(node)
    elif kind == "KILL":
        pid = _work_of(sweep, job)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
    else:
        cluster.call("scancel", f"--signal={kind}", sweep.job_id(job), check=False)


def _attempts(job: Job) -> int:
    """How often a job's run has begun: a kill that falls while Python starts is no attempt."""
    return len(manifest(job.run_dir)["attempts"]) if (Path(job.run_dir) / "manifest.json").exists() else 0


def _work_of(sweep: Watched, job: Job) -> int | None:
    folder = str(sweep.sweep.job_folder(job))
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if "rlpipe.sweep.job" in words and folder in words:
            return int(entry.name)
    return None


def _resume_what_failed(sweep: Watched) -> None:
    """Submit again what was lost for good: SLURM itself queues no job again whose process was killed."""
    sweep.launcher.statuses(sweep.sweep.jobs)
    failed = [job for job in sweep.sweep.jobs if sweep.ended(job) == "failed"]
    if failed:
        sweep.launcher.submit(failed)
