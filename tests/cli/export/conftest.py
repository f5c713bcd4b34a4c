"""Runs to export."""

from __future__ import annotations

from pathlib import Path

import pytest

SMALL = (
    *("method.max_steps=2", "method.batch_size=4", "method.micro_batch_size=2", "method.max_length=256"),
    *("dataset.sample_size=64", "dataset.test_limit=8", "log.every=1", "log.progress=false", "hardware.device=cpu"),
)


def trained(folder: Path, *overrides: str) -> Path:
    from rlpipe.run.run import run
    from tests.composed import compose, once

    asked = once(*overrides, *SMALL, f"run_dir='{folder}'")
    run(compose(*asked), asked)
    return folder


@pytest.fixture(scope="session")
def lora_run(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished DPO with adapters on a model's folder."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    source = ("model=hf", f"model.source={small_model}", "dataset=ultrafeedback", "dataset.source=sample")
    rate = ("method.learning_rate=0.01", "method.warmup=0.0", "evaluation=preference")
    return trained(folder, *source, "method=dpo", "model.lora.rank=4", *rate)


@pytest.fixture(scope="session")
def reward_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished reward model."""
    folder = tmp_path_factory.mktemp("reward") / "run"
    return trained(folder, "model=blank", "method=reward_model", "dataset=ultrafeedback", "evaluation=none")
