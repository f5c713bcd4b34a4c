"""The local pool passes the checks that every launcher must."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlpipe.launchers.local.launcher import LocalLauncher
from rlpipe.testing import check_launcher

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("jobs", [1, 4])
def test_conforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check_launcher(LocalLauncher, tmp_path, jobs=jobs)
