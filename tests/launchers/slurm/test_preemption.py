"""Jobs that are asked to stop save at the next step boundary, are queued again and go on."""

from __future__ import annotations

import signal
import time

import pytest

from rlpipe.launchers.base import Phase
from tests.launchers.slurm.work import Steps

pytestmark = pytest.mark.slurm

COUNT = 40


def in_order(work: Steps) -> bool:
    return work.steps == list(range(work.count))


@pytest.mark.parametrize("name", ["USR2", "TERM"])
def test_a_job_that_is_asked_to_stop_goes_on_where_it_saved(study, cluster, tmp_path, name):
    work = Steps(tmp_path / "run", COUNT, workers=3, child=name == "USR2")
    made = study({"0": work})
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: len(work.steps) > 5)
    cluster.call("scancel", f"--signal={name}", made.job_id("0"))
    made.until(lambda: made.ended("0") == "stopped")
    assert made.all_over() == {"0": "ok"}
    assert in_order(work)
    assert [one["from"] > 0 for one in work.attempts] == [False, True]
    assert made.outcome("0").attempt == 2


@pytest.mark.parametrize("name", ["USR2", "TERM"])
def test_a_request_that_comes_while_python_starts_ends_nothing(study, cluster, tmp_path, name):
    (tmp_path / "sitecustomize.py").write_text(f"import time; open({str(tmp_path / 'starts')!r}, 'w'); time.sleep(2)")
    work = Steps(tmp_path / "run", 3)
    made = study({"0": work}, setup=[f"export PYTHONPATH={tmp_path}"])
    made.launcher.submit(made.sweep.jobs)
    made.until((tmp_path / "starts").exists)
    cluster.call("scancel", f"--signal={name}", made.job_id("0"))
    assert made.all_over() == {"0": "ok"}


def test_only_the_job_that_was_asked_is_queued_again(study, cluster, tmp_path):
    works = {str(number): Steps(tmp_path / str(number), COUNT) for number in range(3)}
    made = study(works)
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: all(len(work.steps) > 2 for work in works.values()))
    cluster.call("scancel", "--signal=USR2", made.job_id("2"))  # its plain id is that of the array
    made.until(lambda: made.ended("2") == "stopped")
    assert set(made.all_over().values()) == {"ok"}
    assert all(in_order(work) for work in works.values())
    assert [len(work.attempts) for work in works.values()] == [1, 1, 2]


def test_a_job_that_is_preempted_saves_in_its_grace_and_goes_on(study, cluster, tmp_path):
    work = Steps(tmp_path / "run", COUNT, workers=2)
    made = study({"0": work}, partition="low", extra={"exclusive": True, "nodelist": "n1"})
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: len(work.steps) > 5)
    cluster.call("sbatch", "--partition=high", "--nodelist=n1", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    made.until(lambda: made.ended("0") == "stopped")
    assert made.all_over() == {"0": "ok"}
    assert in_order(work)
    assert [one["from"] > 0 for one in work.attempts] == [False, True]


def test_a_job_that_is_requeued_by_hand_goes_on(study, cluster, tmp_path):
    work = Steps(tmp_path / "run", COUNT)
    made = study({"0": work})
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: len(work.steps) > 5)
    cluster.call("scontrol", "requeue", made.job_id("0"))
    assert made.all_over() == {"0": "ok"}
    assert in_order(work)
    assert len(work.attempts) == 2


def test_a_cancelled_job_saves_and_is_not_queued_again(study, cluster, tmp_path):
    work = Steps(tmp_path / "run", 600)
    made = study({"0": work})
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: len(work.steps) > 5)
    cluster.call("scancel", made.job_id("0"))
    assert made.all_over() == {"0": "cancelled"}
    assert (work.folder / "saved").exists()
    time.sleep(2)
    assert made.launcher.statuses(made.sweep.jobs)["0"].phase is Phase.gone


def test_a_lost_node_gives_its_job_to_another(study, cluster, tmp_path):
    work = Steps(tmp_path / "run", COUNT)
    made = study({"0": work}, extra={"nodelist": "n2"})
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: len(work.steps) > 5)
    lost = work.attempts[0]["node"]
    cluster.lose_node(lost)
    try:
        made.until(lambda: made.launcher.statuses(made.sweep.jobs)["0"].phase is Phase.queued)
    finally:
        cluster.start_node(lost)
        cluster.wait_idle()
    assert made.all_over() == {"0": "ok"}
    assert len(work.attempts) == 2


@pytest.mark.slow
def test_a_job_that_needs_longer_than_its_limit_goes_on_in_another(study, tmp_path):
    work = Steps(tmp_path / "run", 100, pause=0.5)
    made = study({"0": work}, time="1", grace=20)
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: made.ended("0") == "ok", 300)
    assert in_order(work)
    assert len(work.attempts) > 1
    assert made.outcome("0").attempt == len(work.attempts)


@pytest.mark.slow
def test_a_job_whose_limit_is_too_short_to_save_anything_is_not_tried_for_ever(study):
    made = study({"0": forever}, time="1", grace=20)
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over(200) == {"0": "failed"}
    assert "the time limit came before there was anything to save" in made.outcome("0").error


def forever():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def test_a_job_is_not_queued_again_more_often_than_it_may_be(study, cluster, tmp_path):
    work = Steps(tmp_path / "run", 600)
    made = study({"0": work}, requeues=0)
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: len(work.steps) > 5)
    cluster.call("scancel", "--signal=USR2", made.job_id("0"))
    made.until(lambda: made.ended("0") == "stopped")
    made.until(lambda: made.launcher.statuses(made.sweep.jobs)["0"].phase is Phase.gone)
    assert "not queued again: that was done 0 times already" in made.outcome("0").error
