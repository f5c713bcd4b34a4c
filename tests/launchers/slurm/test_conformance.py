"""SLURM passes the checks that every launcher must, and Hydra's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

from rlpipe.launchers.slurm.launcher import SlurmLauncher
from rlpipe.sweep.discovery import register
from rlpipe.testing import check_launcher
from tests.launchers.slurm.conftest import SETTINGS

register()

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.usefixtures("cluster", "hydras_old_defaults")]

SMALL = ["hydra.launcher.gpus=0", "hydra.launcher.cpus=1", "hydra.launcher.memory=300M", "hydra.launcher.poll=0.2"]
START = (
    "import runpy, sys; from rlpipe.sweep.discovery import register; register(); sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""Runs an application that knows nothing of rlpipe in a process that has registered its launchers."""


def test_conforms(tmp_path: Path) -> None:
    check_launcher(SlurmLauncher, tmp_path, **SETTINGS)


@pytest.mark.parametrize(("launcher_name", "overrides"), [("slurm", SMALL)])
class TestLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("slurm", [*SMALL, "hydra/sweeper=grid", "hydra.sweeper.max_batch_size=2"])]
)
class TestBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=slurm", *SMALL])])
class TestIntegration(IntegrationTestSuite):
    def generate_custom_cmd(self) -> Callable[..., list[str]]:
        return lambda command, filename: [sys.executable, "-c", START, *command[1:]]
