"""What runs inside a Ray Job, and the shell text that leads to it."""

from __future__ import annotations

import signal
import stat
import subprocess

import pytest

from rlpipe.config.launchers import RayConfig
from rlpipe.launchers import environment
from rlpipe.launchers.ray import entrypoint
from rlpipe.launchers.ray.task import Task
from rlpipe.records.sweep import JOB_ID, Ended


def shell(made, **settings) -> subprocess.CompletedProcess:
    text = entrypoint.text(made.sweep, RayConfig(**settings), made.jobs["2"], "ID-1")
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)


def test_the_job_s_log_takes_what_it_prints_and_setup_comes_before_it(make, monkeypatch):
    made = make()
    folder = made.sweep.job_folder(made.jobs["2"])
    (folder / "job.pkl").touch()
    monkeypatch.setenv("PYTHONPATH", "/a b")
    environment.keep(made.sweep, "ray", RayConfig().environment)
    done = shell(made, python="echo $PYTHONPATH $HALF", setup=["HALF=whole"])
    assert (done.returncode, done.stdout) == (0, "")
    assert (folder / "log.txt").read_text() == f"/a b whole -u -m rlpipe.launchers.ray.task {folder} ID-1\n"
    assert shell(made, python="echo", setup=["false"]).returncode == 1


def test_a_node_that_does_not_see_the_folder_says_so(make):
    done = shell(make(), python="echo")
    assert done.returncode == entrypoint.NOT_SHARED
    assert "is not on this node: name a hydra.sweep.dir on a file system that all nodes share" in done.stderr


def test_ray_is_asked_for_what_the_job_needs_and_for_time_to_save(make):
    made = make(gpus=2, cpus=3, memory="2G", resources={"a100": 0.5}, grace=7)
    made.launcher.submit([made.jobs["2"]])
    asked = made.cluster.asked[made.id("2")]
    assert {name: value for name, value in asked.items() if name.startswith("entrypoint_")} == {
        "entrypoint_num_gpus": 2,
        "entrypoint_num_cpus": 3,
        "entrypoint_memory": 2 * 1024**3,
        "entrypoint_resources": {"a100": 0.5},
    }
    assert asked["runtime_env"] == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "7"}}


def test_a_job_gets_the_variables_that_are_named_and_only_the_user_can_read_them(make, monkeypatch):
    for name, value in {"RLPIPE_STORE": "/s", "HF_TOKEN": "secret", "OTHER": "x", JOB_ID: "y"}.items():
        monkeypatch.setenv(name, value)
    made = make(environment=["RLPIPE_*", "HF_*"])
    made.launcher.submit([made.jobs["2"]])
    kept = environment.kept(made.sweep, "ray")
    assert {name: kept.get(name) for name in ("RLPIPE_STORE", "HF_TOKEN", "OTHER", JOB_ID)} == {
        "RLPIPE_STORE": "/s",
        "HF_TOKEN": "secret",
        "OTHER": None,
        JOB_ID: None,
    }
    file = made.sweep.folder / ".launch" / "ray" / "environment.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in str(made.cluster.asked)


@pytest.mark.parametrize("how", ["cancelled", "submitted anew"])
def test_what_was_cancelled_or_submitted_anew_while_it_waited_does_not_run(make, capsys, how):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    first = made.id("2")
    if how == "cancelled":
        made.launcher.cancel([made.jobs["2"]])
    else:
        made.launcher.submit([made.jobs["2"]])
    assert Task(made.sweep.job_folder(made.jobs["2"]), first).run() == 0
    assert f"{first} does not run" in capsys.readouterr().err


def test_only_the_time_limit_queues_a_job_again(make, monkeypatch):
    made = make(time="10:00")
    made.launcher.submit([made.jobs["2"]])
    task = Task(made.sweep.job_folder(made.jobs["2"]), made.id("2", ".3"))
    task.queue = made.launcher.queue
    assert task.job_id == made.id("2")
    made.tell("2", Ended.stopped, "stopped after step 3")
    outcome = made.sweep.outcome(made.jobs["2"])
    task.requested, task.requested_at = signal.SIGTERM, task.begun + 1
    assert task.ended(75, outcome) == 75
    assert made.ended("2") == ("stopped", "stopped after step 3; not queued again: Ray was asked to end it")
    task.requested = signal.SIGALRM
    assert task.ended(75, outcome) == 75
    assert made.ended("2") == ("stopped", "stopped after step 3; queued again")
    assert made.cluster.submitted == [made.id("2"), made.id("2", ".1")]
