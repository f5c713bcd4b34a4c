"""What cannot go together with a sweeper that learns from what arms return."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from rlpipe.records.driving import SEARCH
from rlpipe.sweep.rehearse import App
from rlpipe.sweep.study import problems


@pytest.mark.parametrize(
    ("sweeper", "wait", "objective", "where"),
    [
        ("hydra_plugins.rlpipe_launch.GridSweeper", False, None, []),
        ("a.Other", False, None, ["hydra.launcher.wait=false", "objective"]),
        ("a.Other", True, "after/preference/accuracy", []),
        (SEARCH, False, None, ["hydra.launcher.wait=false"]),  # its own check knows of watch.metric
    ],
)
def test_what_a_sweeper_that_learns_cannot_do_without(sweeper: str, wait: bool, objective: Any, where: list) -> None:
    def task(config: Any) -> None: ...

    task.__module__ = "rlpipe.cli.run"
    nothing: Any = None
    config = OmegaConf.create({"hydra": {"sweeper": {"_target_": sweeper}}, "objective": objective})
    assert [one.where for one in problems(App(nothing, task, config), {"wait": wait})] == where
