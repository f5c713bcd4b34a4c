"""SageMaker passes the checks that every launcher must; the one here is ours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rlpipe.launchers.sagemaker.launcher import SageMakerLauncher
from rlpipe.testing import check_launcher
from tests.launchers.sagemaker.account import SETTINGS, Account

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_conforms(account: Account, tmp_path: Path) -> None:
    account.sagemaker.hidden = [tmp_path / "multirun"]
    check_launcher(SageMakerLauncher, tmp_path, **{**SETTINGS, "python": sys.executable, "poll": 1.0})
