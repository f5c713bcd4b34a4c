"""Fixtures of the on-policy tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def training() -> ModuleType:
    """Give the builders of `training.py`, which is a script for other processes too."""
    spec = importlib.util.spec_from_file_location("online_training", Path(__file__).with_name("training.py"))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
