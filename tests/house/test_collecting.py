"""Collecting the tests is light: whoever runs one file, and each process of a whole run, pays for what it uses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlpipe.testing import HEAVY

ROOT = Path(__file__).resolve().parents[2]
SLOW_TO_IMPORT = (*HEAVY, "wandb", "playwright", "pandas", "scipy.stats")


def test_collecting_imports_nothing_heavy(pytestconfig: pytest.Config):
    """Of the files that this very session has collected: all of them, in a whole run."""
    imports = pytestconfig.pluginmanager.get_plugin("imports").found
    found = [f"{imports[name]} imports {name}" for name in SLOW_TO_IMPORT if name in imports]
    assert not found, f"{', '.join(found)}: move the import into the tests and fixtures that need it"


def test_who_imports_a_module_is_named(tmp_path: Path):
    (tmp_path / "test_light.py").write_text("def test_nothing(): ...\n")
    (tmp_path / "test_waves.py").write_text("import wave\n\ndef test_nothing(): ...\n")
    (tmp_path / "test_waves_again.py").write_text("import wave\n\ndef test_nothing(): ...\n")
    command = [sys.executable, "-m", "tests.house.collecting", json.dumps(["wave", "torch"]), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    (found,) = json.loads(done.stdout.splitlines()[-1]).items()
    assert found[0] == "wave"
    assert found[1].endswith("test_waves.py")
