"""Files of Python, parsed once for all tests that read the code."""

from __future__ import annotations

import ast
import functools
from pathlib import Path


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
