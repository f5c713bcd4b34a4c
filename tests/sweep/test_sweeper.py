"""What sweepers hand over to launchers, and when."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rlpipe.core.errors import ConfigError
from rlpipe.records.sweep import Sweep
from rlpipe.sweep.extend import Extension, extending
from rlpipe.sweep.sweeper import AshaSweeper, GridSweeper, TpeSweeper


def launching(made: GridSweeper, launched: list[list[str]], batches: list[int] | None = None) -> GridSweeper:
    """Give a sweeper a launcher that notes arms, and with which number each batch begins."""

    def launch(batch: Sequence[Sequence[str]], initial_job_idx: int) -> list:
        launched.extend(map(list, batch))
        if batches is not None:
            batches.append(initial_job_idx)
        return []

    launcher: Any = SimpleNamespace(launch=launch)
    made.loader, made.launcher = None, launcher  # type: ignore[assignment]
    return made


def searching(launched: list[list[str]]) -> GridSweeper:
    return launching(TpeSweeper(params={"a": "interval(0,1)"}, trials=3), launched)


GRID = ["a=1,2,3,4,5,6", "seed=0,1", "b=7"]


def test_a_grid_keeps_its_order_and_is_handed_over_in_batches() -> None:
    launched: list[list[str]] = []
    batches: list[int] = []
    launching(GridSweeper(max_batch_size=5), launched, batches).sweep(GRID)
    assert launched == [[f"a={a}", f"seed={seed}", "b=7"] for a in range(1, 7) for seed in (0, 1)]
    assert batches == [0, 5, 10]


def test_asha_starts_settings_in_an_order_of_chance_that_is_always_the_same_and_their_seeds_together() -> None:
    orders: list[list[list[str]]] = [[], []]
    for launched in orders:
        launching(AshaSweeper(), launched).sweep(GRID)
    one, other = orders
    assert one == other
    assert sorted(one) == [[f"a={a}", f"seed={seed}", "b=7"] for a in range(1, 7) for seed in (0, 1)] != one
    assert [arm[1] for arm in one] == ["seed=0", "seed=1"] * 6
    assert [arm[0] for arm in one[::2]] == [arm[0] for arm in one[1::2]]


def test_fresh_seeds_of_a_winner_are_a_grid_without_what_a_study_searches(tmp_path) -> None:
    launched: list[list[str]] = []
    token = extending.set(Extension(Sweep(tmp_path, {}), confirms=True))
    try:
        searching(launched).sweep(["b=1", "seed=3,4"])
    finally:
        extending.reset(token)
    assert launched == [["b=1", "seed=3"], ["b=1", "seed=4"]]


def test_a_launcher_that_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="hydra/launcher=local"):
        searching([]).sweep(["b=1,2"])
