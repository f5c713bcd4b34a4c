"""Collect tests, and print as JSON which of the named modules that imported, each with the test that did it.

As a script: `collecting '["torch", …]' PATH…`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest


@dataclass(eq=False)  # pytest keeps its plugins in sets
class Watch:
    """Notes for each of some modules the first test module, or the folder whose conftest, that imported it."""

    names: list[str]
    found: dict[str, str] = field(default_factory=dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        for name in self.names:
            if name in sys.modules:
                self.found.setdefault(name, collector.nodeid or "the first conftest.py")
        return report


if __name__ == "__main__":
    watch = Watch(json.loads(sys.argv[1]))
    code = pytest.main(["--collect-only", "-q", "--no-summary", "-n", "0", *sys.argv[2:]], plugins=[watch])
    print(json.dumps(watch.found))
    sys.exit(code)
