"""What frozen jobs name is found, wherever it has moved since."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.sweep import pickles

NAMES = Path(__file__).with_name("frozen_names.txt")
"""Every class and function of rlpipe that a frozen job has named, by the module that it stood in then.

A line stays when what it names moves: jobs that name it are about. `test_freeze` says which lines are to be added.
"""


@pytest.mark.parametrize("line", NAMES.read_text().splitlines())
def test_what_a_frozen_job_names_is_still_there(line: str) -> None:
    module, name = line.split()
    found = getattr(importlib.import_module(pickles.current(module, name)), name)
    assert found.__module__ == pickles.current(module, name), f"{line}: name its own module in the table"


def test_every_entry_of_the_table_is_for_something_that_was_frozen() -> None:
    named = [tuple(line.split()) for line in NAMES.read_text().splitlines()]
    assert set(pickles.NAMES) <= set(named)
    assert set(pickles.MODULES) <= {module for module, _ in named}


def test_what_is_not_there_any_more_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ModuleType("rlpipe.gone")
    gone.Config = type("Config", (), {"__module__": "rlpipe.gone"})
    monkeypatch.setitem(sys.modules, "rlpipe.gone", gone)
    frozen = pickle.dumps(gone.Config())
    monkeypatch.delitem(sys.modules, "rlpipe.gone")
    with pytest.raises(LaunchError, match=r"names rlpipe\.gone\.Config, which is not here"):
        pickles.loads(frozen)
