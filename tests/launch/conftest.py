"""Sweeps of small jobs that need neither Hydra nor torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlpipe.config import compose
from rlpipe.records.sweep import Job, Kind, Sweep
from rlpipe.sweep import code


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Jobs that run in the tests' own process leave no compositions behind."""
    before = dict(compose.known)
    yield
    compose.known.clear()
    compose.known.update(before)


@pytest.fixture
def make_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    """Make a sweep of arms `0 … n-1`, and of stages that arms need (`needs={0: ("stage",)}`)."""
    monkeypatch.chdir(tmp_path)

    def make(count: int = 1, needs: dict[int, tuple[str, ...]] | None = None, **settings: Any) -> Sweep:
        study = {"launcher": "local", "settings": {"jobs": None, "wait": True, **settings}, "cwd": str(tmp_path)}
        sweep = Sweep.create(tmp_path / "sweep", code=code.state(tmp_path), objective=None, **study)
        wanted = needs or {}
        stages = dict.fromkeys(key for keys in wanted.values() for key in keys)
        jobs = [Job(key, Kind.stage, (), str(tmp_path / "store" / key)) for key in stages]
        jobs += [
            Job(str(i), Kind.arm, (f"x={i}",), str(sweep.folder / str(i)), wanted.get(i, ()), {"x": str(i)})
            for i in range(count)
        ]
        sweep.add(jobs)
        for job in jobs:
            sweep.job_folder(job).mkdir(parents=True)
        return sweep

    return make
