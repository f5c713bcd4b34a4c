"""What is wrong with a submission is found before it."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from rlpipe.launchers.ray.cluster import Node


def told(made) -> dict[str, Any]:
    return {one.where.removeprefix("hydra.launcher."): one for one in made.launcher.problems()}


def test_what_the_cluster_has_is_no_problem(make):
    assert told(make(gpus=1, cpus=4, memory="2G", time="1:00:00")) == {}


def test_settings_that_make_no_sense_are_all_told_at_once(make):
    found = told(make(gpus=-1, nodes=2, memory="much", time="soon", poll=0.0, python="no-such-python"))
    assert {name for name, one in found.items() if one.fatal} == {"gpus", "nodes", "memory", "time", "poll", "python"}
    assert "a Ray Job runs on one node" in str(found["nodes"])


def test_a_grace_that_leaves_no_time_to_work_is_told(make):
    assert "would hardly begin" in str(told(make(time="2", grace=120))["grace"])


@pytest.mark.parametrize(
    ("settings", "where", "words"),
    [
        ({"gpus": 8}, "gpus", "8 GPU for a job, but no node of the cluster has more than 1 now"),
        ({"cpus": 9}, "cpus", "9 CPU for a job"),
        (
            {"resources": {"a100": 1.0}},
            "resources.a100",
            "1 a100 for a job, but no node of the cluster has more than 0",
        ),
    ],
)
def test_what_no_node_has_is_said_and_stops_nothing_since_clusters_grow(make, settings, where, words):
    (problem,) = told(make(**settings)).values()
    assert (problem.where, problem.fatal) == (f"hydra.launcher.{where}", False)
    assert words in problem.what


def test_nodes_elsewhere_must_see_the_folder_and_the_interpreter(make):
    made = make()
    made.cluster.has = [Node("192.0.2.1", {"CPU": 4.0, "GPU": 1.0})]
    assert "hydra.sweep.dir" in told(made)


def test_a_cluster_that_does_not_answer_and_ray_that_is_not_there(make, monkeypatch):
    made = make()
    made.cluster.answers = False
    assert "does not answer" in str(told(made)["Ray"])
    from rlpipe.launchers.ray.launcher import RayLauncher

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (problem,) = RayLauncher(made.sweep).problems()
    assert "pip install 'rlpipe[ray]'" in str(problem)
