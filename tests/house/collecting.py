"""Notes, while tests are collected, which of them imported what.

As a script it collects tests and prints that as JSON for some modules: `collecting '["torch", …]' PATH…`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest


@dataclass(eq=False)  # pytest keeps its plugins in sets
class Imports:
    """A plugin of pytest: for each module the first test module, or the folder whose conftest, that imported it."""

    found: dict[str, str] = field(default_factory=dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        for name in sys.modules.keys() - self.found.keys():
            self.found[name] = collector.nodeid or "the first conftest.py"
        return report


if __name__ == "__main__":
    imports = Imports()
    code = pytest.main(["--collect-only", "-q", "--no-summary", "-n", "0", *sys.argv[2:]], plugins=[imports])
    print(json.dumps({name: imports.found[name] for name in json.loads(sys.argv[1]) if name in imports.found}))
    sys.exit(code)
