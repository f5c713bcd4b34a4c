"""Whole runs in this process: importing torch once serves them all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.composed import once

SMALL = (
    *("method.max_steps=2", "method.batch_size=4", "method.micro_batch_size=2", "method.max_length=256"),
    *("dataset.sample_size=64", "dataset.test_limit=8"),
    *("log.every=1", "log.progress=false", "hardware.device=cpu"),
)
"""Two steps on few rows."""


SHORT = ("evaluation.samples.max_tokens=8", "evaluation.accuracy.sampling.max_tokens=16")
"""What the default evaluations draw: writing takes most of a small run's time."""


def limits(overrides: Sequence[str]) -> list[str]:
    """Return the small settings that a run with these overrides has fields for."""
    short = [] if any(one.startswith(("evaluation=", "experiment=")) for one in overrides) else list(SHORT)
    if "method=ai_feedback" in overrides:
        own = ["method.max_length=256", "method.sampling.max_tokens=8", "method.cut=keep"]
        return [*own, *(one for one in SMALL if not one.startswith("method.")), *short]
    trains = "method=none" not in overrides
    return [*(one for one in SMALL if trains or not one.startswith("method.micro_batch_size")), *short]


STAGE = (
    "model.stage=['model=blank','dataset=mixture','dataset.sample_size=32','method=sft','method.max_steps=2',"
    "'method.batch_size=4','method.micro_batch_size=2','evaluation=none']"
)
"""The run that makes `model=tiny`, in a second instead of a minute."""

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory):
    """One store of stages for all runs of these tests, and for all workers: what one has built the other finds."""
    workers = "PYTEST_XDIST_WORKER" in os.environ
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp().parent / "stages" if workers else tmp_path_factory.mktemp("stages")
        folder.mkdir(exist_ok=True)
        patch.setenv("RLPIPE_STORE", str(folder))
        yield folder


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    """Run overrides to the end in `tmp_path/run` (or `at`); returns result.json with the metrics' rows as `rows`."""

    def run_it(*overrides: str, at: str = "run", small: bool = True) -> dict[str, Any]:
        from rlpipe.config.compose import compose
        from rlpipe.run.run import run

        folder = tmp_path / at
        asked = once(*(limits(overrides) if small else ()), *overrides, f"run_dir='{folder}'")
        run(compose(*asked), asked)
        result = json.loads((folder / "result.json").read_text())
        assert result["status"] == "ok"
        lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
        return {**result, "rows": [json.loads(line) for line in lines]}

    return run_it
