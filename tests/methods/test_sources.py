"""A library's config class, read from its source: the same fields as the class itself has, and what it refuses."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap

import pytest

from rlpipe.config import plugins
from rlpipe.methods import sources
from rlpipe.methods.library import LibraryMethod

LIBRARIES = sorted(
    {
        plugin.cls.library[:2]
        for plugin in plugins.table()["method"].values()
        if plugin.cls is not None and issubclass(plugin.cls, LibraryMethod) and plugin.origin == "rlpipe"
    }
)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package whose config class is imported from a module inside it, with an enumeration and a base."""
    package = tmp_path / "a_library"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .inner import Made\n"
    )
    (package / "base.py").write_text(
        textwrap.dedent(
            """
            from enum import Enum
            raise RuntimeError("importing this is heavy")
            class Kind(str, Enum):
                ONE = "one"
                TWO = "two"
            class Base:
                rate: float = 0.5
                kind: Kind | str = field(default="one")
            """
        )
    )
    (package / "inner.py").write_text(
        textwrap.dedent(
            """
            from .base import Base
            class Made(Base):
                steps: int | None = None
                names: list[str] | None = field(default=None, metadata={"help": "Names"})
                mode: str = field(default="fast", metadata={"help": "Must be one of `'fast'` or `'slow'`. Says more."})
                loss: str = field(default="a", metadata={"help": "The loss", "choices": ["a", "b"]})
                share: float = field(default=0.1, metadata={"help": "Must be in [0.0, 1.0]: a share"})
                odd: Odd | None = None
                def __post_init__(self):
                    self.names = self.names or []
                    if self.steps is not None:
                        if self.steps < 1:
                            raise ValueError(f"steps must be positive, got {self.steps}")
                        elif self.steps > 10 and self.mode == "slow":
                            raise ValueError("too slow")
                    if torch.cuda.is_available() and self.rate > 0:
                        raise ValueError("depends on the machine")
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "a_library"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        *(("rate", 1, None), ("rate", 0.1, None), ("rate", "x", "float"), ("rate", True, "float")),
        *(("steps", 3, None), ("steps", None, None), ("steps", 1.5, "int | None")),
        *(("names", ["a"], None), ("names", [1], "list[str] | None"), ("names", "a", "list[str] | None")),
        *(("kind", "two", None), ("kind", "three", "one of one, two")),
        *(("mode", "slow", None), ("mode", "slo", "one of fast, slow"), ("loss", "c", "one of a, b")),
        *(("share", 0.3, None), ("share", 2, "a number from 0 to 1"), ("odd", {"any": 1}, None)),
    ],
)
def test_types_and_values(library, name, value, wanted):
    fields = sources.fields(library, "Made")
    assert fields is not None
    assert fields[name].misfit(value) == wanted


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 0}, ["steps must be positive, got 0"]),
        ({"steps": 20, "mode": "slow"}, ["too slow"]),
        ({"steps": 20}, []),
        ({"rate": 2.0}, []),
    ],
)
def test_what_a_class_refuses(library, given, words):
    defaults = {"steps": None, "mode": "fast", "rate": 0.5}
    assert list(sources.refusals(library, "Made", given, defaults)) == words


def test_what_has_no_source_is_left_to_the_class_itself():
    assert sources.fields("no_such_library", "Config") is None
    assert sources.fields("trl", "NoSuchConfig") is None
    assert list(sources.refusals("no_such_library", "Config", {"a": 1}, {})) == []


def test_every_librarys_class_is_read():
    assert len(LIBRARIES) > 6
    for module, name in LIBRARIES:
        fields = sources.fields(module, name)
        assert fields is not None
        assert len(fields) > 100
        assert "paged_adamw_8bit" in fields["optim"].choices


@pytest.mark.slow
def test_the_fields_are_those_of_the_classes_themselves():
    import importlib

    for module, name in LIBRARIES:
        real = getattr(importlib.import_module(module), name)
        assert set(sources.fields(module, name) or ()) == {one.name for one in dataclasses.fields(real)}


@pytest.mark.slow
def test_reading_imports_nothing():
    program = (
        "import sys; from rlpipe.methods.sources import fields; assert fields('trl', 'DPOConfig');"
        "print([name for name in ('torch', 'transformers', 'trl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
