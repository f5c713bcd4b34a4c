"""The shape of the code itself: sizes, documentation, names, and what may be imported where."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlpipe
from rlpipe import testing
from rlpipe.config import plugins, schema
from rlpipe.config.fields import declarations
from rlpipe.config.kinds import LoraConfig
from rlpipe.config.launchers import SlurmConfig
from rlpipe.core import errors

PACKAGE = Path(rlpipe.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, MOST_FIELDS = 280, 60, 16
SBATCH_HAS = 18
"""Fields of a launcher whose scheduler has so many words of its own."""

SCHEMAS = sorted(
    {
        *(cls for _, cls in inspect.getmembers(schema, dataclasses.is_dataclass)),
        *(plugin.cls.Config for known in plugins.table().values() for plugin in known.values()),
        LoraConfig,
    },
    key=lambda cls: cls.__qualname__,
)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_and_functions_stay_small_and_say_what_they_are(file):
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= LONGEST_FILE
    assert ast.get_docstring(tree) or not text.strip(), "a module's docstring says what it is for"
    for function in functions(tree):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= LONGEST_FUNCTION, f"{function.name} has {length} lines"


@pytest.mark.parametrize("cls", SCHEMAS, ids=lambda cls: cls.__name__)
def test_configs_are_small_and_documented(cls):
    told = declarations(cls)
    own = [name for name, declared in told.items() if declared.owner is cls]
    assert len(own) <= (SBATCH_HAS if cls is SlurmConfig else MOST_FIELDS)
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "the dataclass has no docstring of its own"
    for field in dataclasses.fields(cls):
        assert told[field.name].doc or testing.explains_itself(field), f"put a string under {cls.__name__}.{field.name}"


def test_no_module_is_a_drawer():
    assert not {file.stem for file in MODULES} & {"utils", "util", "common", "core", "helpers", "misc"}


def test_every_error_is_drawn_in_the_tree():
    raised = {name for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, Exception)}
    lines = [line.lstrip(" ├└─") for line in (errors.__doc__ or "").splitlines()]
    drawn = {line.split()[0] for line in lines if line}
    assert raised <= drawn
    assert all(issubclass(vars(errors)[name], errors.RlpipeError) for name in raised - {"Stopped"})


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_a_kind_is_one_word_everywhere(kind):
    base = importlib.import_module(f"rlpipe.{kind}s.base")
    assert dataclasses.is_dataclass(getattr(base, f"{kind.capitalize()}Config"))
    for target in plugins.BUILT_IN[kind].values():
        assert target.startswith(f"rlpipe.{kind}s.")


def test_the_package_itself_is_importable_by_listed_names_alone():
    for module in (testing,):
        assert sorted(module.__all__) == module.__all__
        assert all(hasattr(module, name) for name in module.__all__)
