"""What a search's sweeper does where it is not to search."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rlpipe.core.errors import ConfigError
from rlpipe.records.sweep import Sweep
from rlpipe.sweep.extend import Extension, extending
from rlpipe.sweep.sweeper import TpeSweeper


def sweeper(launched: list[list[str]]) -> TpeSweeper:
    def launch(batch: Sequence[Sequence[str]], initial_job_idx: int) -> list:
        launched.extend(map(list, batch))
        return []

    made = TpeSweeper(params={"a": "interval(0,1)"}, trials=3)
    launcher: Any = SimpleNamespace(launch=launch)
    made.loader, made.launcher = None, launcher  # type: ignore[assignment]
    return made


def test_fresh_seeds_of_a_winner_are_a_grid_without_what_a_study_searches(tmp_path) -> None:
    launched: list[list[str]] = []
    token = extending.set(Extension(Sweep(tmp_path, {}), confirms=True))
    try:
        sweeper(launched).sweep(["b=1", "seed=3,4"])
    finally:
        extending.reset(token)
    assert launched == [["b=1", "seed=3"], ["b=1", "seed=4"]]


def test_a_launcher_that_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="hydra/launcher=local"):
        sweeper([]).sweep(["b=1,2"])
