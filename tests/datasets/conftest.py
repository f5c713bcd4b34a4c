"""Small local datasets, made row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from rlpipe.config import plugins
from rlpipe.datasets.base import Dataset

Make = Callable[..., Dataset]
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def make() -> Make:
    """Return a function that builds a dataset plugin by name from its settings."""

    def build(name: str, **settings: Any) -> Dataset:
        cls = plugins.load("dataset", name)
        dataset: Dataset = cls(cls.Config(name=name, **{"source": "sample", **settings}))
        return dataset

    return build


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes rows as JSON lines and returns the file."""

    def save(rows: Iterable[Any], name: str = "train.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return save
