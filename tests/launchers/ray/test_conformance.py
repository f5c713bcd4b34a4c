"""A real Ray passes the checks that every launcher must."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlpipe.launchers.ray.launcher import RayLauncher
from rlpipe.testing import check_launcher
from tests.launchers.ray.head import Head

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def test_conforms(head: Head, tmp_path: Path) -> None:
    check_launcher(RayLauncher, tmp_path, address=head.address, gpus=0, cpus=1, grace=30, poll=0.3)
