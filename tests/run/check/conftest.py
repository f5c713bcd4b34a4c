"""The machine that checks are asked about: the same wherever these tests run."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlpipe.run.check import capacity


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, of 16 GB and with a disk of room for everything, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("WORLD_SIZE", "WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(capacity, "gpu_memory", lambda: None)
    monkeypatch.setattr(capacity, "main_memory", lambda: 16 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**13))
