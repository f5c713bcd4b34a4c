"""What is asked of every plugin: a light module, and a documented config."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import subprocess
import sys
import typing
from collections.abc import Iterable

from rlpipe.config import plugins
from rlpipe.config.fields import declarations
from rlpipe.config.settings import statement

HEAVY = ("torch", "transformers", "trl", "datasets", "peft", "accelerate")
"""Packages that composing and checking must not import."""


def check_config(cls: type, base: type) -> None:
    """Check that a plugin says what it is, and that its `Config` is a dataclass over `base` with documented fields."""
    config = getattr(cls, "Config", None)
    assert inspect.isclass(config), f"{cls.__name__}.Config is no class"
    assert dataclasses.is_dataclass(config), f"{cls.__name__}.Config is no dataclass"
    assert issubclass(config, base), f"{cls.__name__}.Config does not inherit from {base.__name__}"
    assert config is base or "__dataclass_fields__" in vars(config), f"{config.__name__} lacks its own @dataclass"
    for field in dataclasses.fields(config):
        documentation = declarations(config)[field.name].doc or explains_itself(field)
        assert documentation, f"{config.__name__}.{field.name} has no documentation: put a string under the field"
    assert (cls.__doc__ or "").strip(), f"{cls.__name__} has no docstring; its first line is what --help shows"


def unstated(config: type, name: str) -> str | None:
    """Return what a config class leaves unsaid of a field, and how to say it; None where nothing is.

    A field of which nothing is said counts as changing the result, and its numbers are taken as they are.
    """
    stated, hint = statement(config, name), typing.get_type_hints(config)[name]
    if stated.changes is None:
        return "say what it changes: @changing(Changes.result) on the class, or setting(…, Changes.nothing)"
    numeric = any(kind in (int, float) for kind in (hint, *typing.get_args(hint)))
    if numeric and stated.range is None:
        return "say which numbers it may hold: setting(…, at_least=…), or finite=True"
    return None


def explains_itself(field: dataclasses.Field) -> bool:
    """Whether a field's type documents it: an enumeration with a docstring, or a dataclass with fields of its own."""
    kind = type(field.default) if field.default is not dataclasses.MISSING else field.default_factory
    return bool(dataclasses.is_dataclass(kind) or (hasattr(kind, "__members__") and getattr(kind, "__doc__", None)))


def check_light(modules: Iterable[str]) -> None:
    """Check, in a fresh interpreter, that importing modules imports none of the heavy packages."""
    program = (
        "import importlib, json, sys\n"
        "found = {}\n"
        "for module in json.loads(sys.argv[1]):\n"
        "    importlib.import_module(module)\n"
        "    for heavy in json.loads(sys.argv[2]):\n"
        "        if heavy in sys.modules: found.setdefault(heavy, module)\n"
        "print(json.dumps(found))"
    )
    command = [sys.executable, "-c", program, json.dumps(list(modules)), json.dumps(HEAVY)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"importing {', '.join(modules)} fails:\n{done.stderr.strip()}"
    found = json.loads(done.stdout.splitlines()[-1])
    imports = ", ".join(f"{module} imports {heavy}" for heavy, module in found.items())
    assert not found, f"{imports}: move the import into the function that needs it"


def name_of(cls: type, kind: str) -> str:
    """Return the name under which a plugin is registered. Raises AssertionError where it is not."""
    names = [name for name, plugin in plugins.table()[kind].items() if plugin.cls is cls]
    assert names, (
        f"{cls.__name__} is not registered: name it in the entry-point group rlpipe.{kind}, and install the package"
    )
    return names[0]
