"""A search is driven, killed and gone on with, with a place that only pretends."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rlpipe.cli import exits
from rlpipe.cli import main as cli
from rlpipe.config.plugins import Plugin, table
from rlpipe.records.sweep import Ended, Job, Outcome, Sweep, write_outcome
from rlpipe.sweep import launching, search
from rlpipe.sweep.criterion import KEPT
from tests.sweep.test_launcher import Pretending, launch

pytestmark = pytest.mark.slow

SEARCH = (
    *("hydra/sweeper=tpe", "hydra.sweeper.trials=6", "hydra.launcher.jobs=2", "hydra.sweeper.random=3"),
    *("method=dpo", "method.learning_rate=tag(log,interval(1e-6,1e-2))"),
    *("evaluation=preference", "watch.every=1", "watch.metric=preference/score"),
)


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Pretending]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(Pretending, "submitted", [])
    monkeypatch.setattr(Pretending, "found", [])
    monkeypatch.setitem(table()["launcher"], "local", Plugin("launcher", "local", "tests", Pretending))
    monkeypatch.setattr(launching, "launcher_of", Pretending)
    monkeypatch.setattr(search, "report", lambda sweep, standings: True)
    monkeypatch.setattr(search, "INTERVAL", 0.0)
    return Pretending


def test_it(capsys):
    assert launch(*SEARCH) == exits.DONE
    print(capsys.readouterr().err)
    assert 0
