"""Collecting the tests is light: whoever runs one file, and each process of a whole run, pays for what it uses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rlpipe.testing import HEAVY

ROOT = Path(__file__).resolve().parents[2]
SLOW_TO_IMPORT = (*HEAVY, "wandb", "playwright", "pandas", "scipy.stats")


def imported(names: tuple[str, ...], tests: Path) -> dict[str, str]:
    """Collect tests in a fresh process; return which of the modules that imported, each with what did it."""
    command = [sys.executable, "-m", "tests.house.collecting", json.dumps(names), str(tests)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, f"collecting {tests} fails:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def test_collecting_imports_nothing_heavy():
    found = [f"{test} imports {name}" for name, test in imported(SLOW_TO_IMPORT, ROOT / "tests").items()]
    assert not found, f"{', '.join(found)}: move the import into the tests and fixtures that need it"


def test_who_imports_a_module_is_named(tmp_path: Path):
    (tmp_path / "test_light.py").write_text("def test_nothing(): ...\n")
    (tmp_path / "test_waves.py").write_text("import wave\n\ndef test_nothing(): ...\n")
    (tmp_path / "test_waves_again.py").write_text("import wave\n\ndef test_nothing(): ...\n")
    (found,) = imported(("wave", "torch"), tmp_path).items()
    assert found[0] == "wave"
    assert found[1].endswith("test_waves.py")
