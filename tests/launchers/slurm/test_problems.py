"""What is wrong with a submission is found before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlpipe.config.launchers import SlurmConfig
from rlpipe.launchers.slurm import problems as module
from rlpipe.launchers.slurm.problems import problems

SMALL = {"gpus": 0, "cpus": 1, "memory": "300M", "time": "10", "grace": 60}


def found(folder: Path, **settings) -> dict[str, str]:
    told = problems(SlurmConfig(**{**SMALL, **settings}), folder)
    return {one.where.removeprefix("hydra.launcher."): str(one) for one in told if one.where != "hydra.sweep.dir"}


def test_without_sbatch_it_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sbatch, srun, squeue, scancel, scontrol not on the path" in found(tmp_path)["hydra.launcher"]


def test_numbers_that_make_no_sense_are_all_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = found(tmp_path, gpus=-1, cpus=0, nodes=0, throttle=0, poll=0.0, memory="much", time="soon")
    assert {"gpus", "cpus", "nodes", "throttle", "poll", "memory", "time"} <= told.keys()


def test_a_grace_that_leaves_no_time_to_work_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "would hardly begin" in found(tmp_path, time="2", grace=120)["grace"]


@pytest.mark.slurm
class TestAsked:
    """On a cluster of two nodes with 4 CPUs, 4000 MB and two GPUs each."""

    def test_what_it_has_is_no_problem(self, cluster, tmp_path):
        assert found(tmp_path, gpus=2, cpus=4, memory="4000M", nodes=2, partition="low") == {}

    @pytest.mark.parametrize(
        ("settings", "where", "words"),
        [
            (
                {"partition": "mian"},
                "partition",
                "no partition 'mian'\n    → did you mean 'main'? known: high, low, main",
            ),
            ({"gpus": 8}, "gpus", "8 gpus on one node, but no node of 'main' has more than 2 gpus"),
            ({"cpus": 99}, "cpus", "no node of 'main' has more than 4 cpus"),
            ({"memory": "90G"}, "memory", "90G of memory on one node, but no node of 'main' has more than 3.906G"),
            ({"nodes": 3}, "nodes", "3 nodes, but only 2 of 'main' have what is asked for"),
            ({"partition": "low", "time": "3:00:00"}, "time", "3:00:00, but 'low' ends jobs after 60 minutes"),
        ],
    )
    def test_what_it_has_not_is_told_with_what_it_has(self, cluster, tmp_path, settings, where, words):
        told = found(tmp_path, **settings)
        assert told.keys() == {where}
        assert words in told[where]

    def test_sbatch_itself_has_the_last_word(self, study):
        made = study({"0": print}, constraint="nosuch")
        (told,) = [one for one in made.launcher.problems() if one.fatal]
        assert "Invalid feature specification" in told.what

    def test_a_controller_that_does_not_answer(self, cluster, tmp_path, monkeypatch):
        monkeypatch.setattr(
            module.facts,
            "cluster",
            lambda: module.ask("sh", "-c", "echo Unable to contact slurm controller >&2; exit 1"),
        )
        assert "SLURM does not answer" in found(tmp_path)["hydra.launcher"]
