"""Handing jobs to a real SLURM: arrays, dependencies, throttles, and a controller that is away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import Phase
from rlpipe.launchers.slurm import script
from rlpipe.launchers.slurm.launcher import SlurmLauncher
from rlpipe.records.sweep import Sweep
from tests.launchers.slurm.work import Steps

pytestmark = pytest.mark.slurm

LATER = {"begin": "now+1hour"}
"""Of jobs that are only to be looked at in the queue."""


def fine():
    pass


def raises():
    raise ValueError("boom")


def test_more_arms_than_an_array_takes_become_several(study, cluster):
    made = study({str(number): fine for number in range(45)}, extra=LATER)
    made.launcher.submit(made.sweep.jobs)
    ids = [made.job_id(str(number)) for number in range(45)]
    tasks = [int(one.partition("_")[2]) for one in ids]
    assert tasks == [*range(20), *range(20), *range(5)]
    assert set(ids) <= set(cluster.call("squeue", "--noheader", "--array", "--format=%i").split())
    assert {one.phase for one in made.launcher.statuses(made.sweep.jobs).values()} == {Phase.queued}
    made.launcher.cancel(made.sweep.jobs)
    assert {made.ended(job.key) for job in made.sweep.jobs} == {"cancelled"}
    made.until(lambda: not set(ids) & set(cluster.call("squeue", "--noheader", "--array", "--format=%i").split()))


def test_no_more_arms_run_at_once_than_the_throttle_lets(study, tmp_path):
    works = {str(number): Steps(tmp_path / str(number), 10) for number in range(4)}
    made = study(works, throttle=2)
    made.launcher.submit(made.sweep.jobs)
    most = []

    def over() -> bool:
        seen = made.launcher.statuses(made.sweep.jobs).values()
        most.append(sum(one.phase is Phase.running for one in seen))
        return all(made.ended(key) == "ok" for key in works)

    made.until(over)
    assert max(most) == 2


def test_what_never_starts_is_said_to_be_hopeless(study):
    made = study({"0": fine}, partition="low", time="3:00:00")
    made.launcher.submit(made.sweep.jobs)
    seen = made.until(lambda: (one := made.launcher.statuses(made.sweep.jobs)["0"]).reason != "PENDING" and one)
    assert (seen.phase, seen.hopeless) == (Phase.queued, True)
    assert seen.reason in ("PartitionTimeLimit", "PartitionConfig")


def test_refusals_are_sbatch_s_own_words_and_leave_nothing_behind(study):
    made = study({"0": fine}, partition="nosuch")
    with pytest.raises(LaunchError, match=r"sbatch refused the jobs: .*invalid partition specified: nosuch"):
        made.launcher.submit(made.sweep.jobs)
    assert list(made.launcher.work.iterdir()) == []
    assert made.sweep.submissions == []


def test_jobs_that_failed_or_were_cancelled_are_submitted_again(study, tmp_path):
    fails = tmp_path / "fails"
    fails.touch()

    def stage():
        assert not fails.exists(), "not yet"

    made = study({"0": fine, "1": fine}, {"sft": stage})
    made.launcher.submit(made.sweep.jobs)
    assert set(made.all_over().values()) == {"failed", "cancelled"}
    fails.unlink()
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: all(made.ended(job.key) == "ok" for job in made.sweep.jobs))
    assert made.outcome("sft").attempt == 2


def test_arms_of_a_stage_that_failed_are_not_submitted_without_it(study):
    made = study({"0": fine}, {"sft": raises})
    made.launcher.submit([made.job("sft")])
    made.until(lambda: made.ended("sft") == "failed")
    made.launcher.submit([made.job("0")])
    assert made.outcome("0").error == "stage sft, which it needs, failed: ValueError: boom"
    assert len(made.sweep.submissions) == 1


def test_the_submitter_is_killed_and_the_jobs_go_on(study, tmp_path):
    made = study({"0": Steps(tmp_path / "run", 20)})
    code = (
        "import sys, time; from rlpipe.launchers.base import launcher_of; from rlpipe.records.sweep import Sweep;"
        "sweep = Sweep.load(sys.argv[1]); launcher_of(sweep).submit(sweep.jobs); print('handed over', flush=True);"
        "time.sleep(600)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, made.sweep.folder], stdout=subprocess.PIPE)
    assert driver.stdout.readline() == b"handed over\n"
    driver.kill()
    driver.wait()
    sweep = Sweep.load(made.sweep.folder)
    assert SlurmLauncher(sweep).statuses(sweep.jobs)["0"].phase is not Phase.gone
    assert made.all_over() == {"0": "ok"}


def test_setup_lines_and_a_container_surround_the_work(study):
    def arm():
        import os

        print("here is", os.environ["MODULE"], os.environ["INSIDE"])

    container = f"env INSIDE=container PATH={Path(sys.executable).parent}:/usr/bin:/bin"  # its python, not ours
    made = study({"0": arm}, setup=["export MODULE=cuda"], container=container)
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"0": "ok"}
    assert "here is cuda container" in made.log("0")


def test_a_setup_line_that_fails_ends_the_job_and_is_named(study):
    made = study({"0": fine}, setup=["load_module nosuch", "true"])
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"0": "failed"}
    assert made.outcome("0").error == "FAILED (exit 127); setup failed: load_module nosuch"


def test_submitting_from_inside_a_job_takes_nothing_over_from_it(study, monkeypatch):
    for name, value in {"SLURM_MEM_PER_CPU": "100", "SLURM_MEM_PER_NODE": "900", "SLURM_JOB_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    made = study({"0": fine})
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"0": "ok"}


def test_each_arm_has_a_gpu_of_its_own(study, tmp_path):
    def arm():
        import os

        (tmp_path / f"gpu-{os.environ['SLURMD_NODENAME']}-{os.environ['CUDA_VISIBLE_DEVICES']}").touch()
        for _ in range(600):  # both hold theirs at the same time
            if len(list(tmp_path.glob("gpu-*"))) == 2:
                return
            time.sleep(0.1)
        raise AssertionError("alone, or on the same GPU")

    made = study({"0": arm, "1": arm}, gpus=1)
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"0": "ok", "1": "ok"}
    assert all(path.name[-1] in "01" and path.name[-2] == "-" for path in tmp_path.glob("gpu-*"))


def test_a_controller_that_restarts_is_waited_for(study, cluster, tmp_path, monkeypatch, capsys):
    work = Steps(tmp_path / "run", 100)
    made = study({"0": work, "1": fine})
    made.launcher.submit([made.job("0")])
    made.until(lambda: len(work.steps) > 2)
    before = made.launcher.statuses(made.sweep.jobs)
    cluster.stop_controller()
    try:
        time.sleep(0.3)
        assert made.launcher.statuses(made.sweep.jobs) == before
        monkeypatch.setattr(script, "PATIENCE", 0.5)
        with pytest.raises(LaunchError, match=r"did not answer for 0\.5 s"):
            made.launcher._submit(script_array(made, "1"), {}, [])
        monkeypatch.setattr(script, "PATIENCE", 60.0)
        back = threading.Timer(1.0, cluster.start_controller)
        back.start()
        made.launcher._submit(script_array(made, "1"), {}, [])
        back.join()
    finally:
        if not cluster.alive("slurmctld.pid"):
            cluster.start_controller()
    assert made.all_over() == {"0": "ok", "1": "ok"}
    assert work.attempts[1:] == []
    assert "asking again in" in capsys.readouterr().err


def script_array(made, key):
    from rlpipe.launchers.slurm.arrays import Array

    return Array((made.job(key),))
