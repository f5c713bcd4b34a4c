"""Errors are data, rendered in one place, and survive being copied to other processes."""

from __future__ import annotations

import ast
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest

from rlpipe.core import errors
from rlpipe.core.errors import ConfigError, DataError, Problem, RlpipeError, Stopped
from rlpipe.records.heartbeat import Owner
from rlpipe.records.lease import Taken
from tests.house.parsed import parsed

PACKAGE = Path(errors.__file__).parents[1]
TREES = {file: parsed(file) for file in sorted(PACKAGE.rglob("*.py"))}
PLAIN = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, (RlpipeError, Stopped))]
PLAIN.remove(ConfigError)
OWNER = Owner(token="1-1", host="node7", pid=1, doing="training")


@pytest.mark.parametrize("cls", PLAIN)
def test_the_parts_become_one_text(cls):
    assert str(cls("rows.jsonl, row 3", "not JSON", "fix it")) == "rows.jsonl, row 3: not JSON\n    → fix it"
    assert str(cls(Path("rows.jsonl"), "not JSON", "")) == "rows.jsonl: not JSON"
    assert str(cls("", "nothing to do", "give some")) == "nothing to do\n    → give some"


def test_an_error_is_a_problem_and_a_config_error_has_several():
    error = DataError("rows.jsonl", "no rows", "add some")
    assert error.problems == [Problem("rows.jsonl", "no rows", "add some")]
    assert str(error.problems[0]) == str(error)
    assert error.at("rows.jsonl") == Problem("rows.jsonl", "no rows", "add some")
    assert error.at("dataset") == Problem("dataset", "rows.jsonl: no rows", "add some")
    several = ConfigError([*error.problems, Problem("seed", "not a number", "give one")])
    assert str(several) == (
        "2 problems found before anything was started:\n"
        "  1. rows.jsonl: no rows\n    → add some\n"
        "  2. seed: not a number\n    → give one"
    )
    assert several.at("stages") == Problem("stages", "rows.jsonl: no rows; seed: not a number", "add some; give one")


@pytest.mark.parametrize("copied", [copy.copy, lambda one: pickle.loads(pickle.dumps(one)), cloudpickle.loads])
@pytest.mark.parametrize(
    "error",
    [
        DataError("here", "wrong", "fix it"),
        ConfigError([Problem("seed", "wrong", "fix it"), Problem("model", "odd", "look", fatal=False)]),
        Stopped("", "saved at step 7", "go on"),
        Taken(Path("run"), OWNER),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_being_copied(error, copied):
    error.add_note("seen on node 7")
    again = copied(cloudpickle.dumps(error) if copied is cloudpickle.loads else error)
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
    assert (again.where, again.what, again.fix, again.problems) == (
        *(error.where, error.what, error.fix),
        error.problems,
    )


def classes_of_errors() -> set[str]:
    """Return the names of the package's classes of errors, and of Stopped, that take where, what and fix."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"RlpipeError", "Stopped"}
    while more := {name for name, parents in bases.items() if parents & found} - found:
        found |= more
    return found - {"ConfigError", "Taken"}


def constructions(tree: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    """Yield the calls that make an error of these classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
            yield node


def test_every_error_is_made_of_where_what_and_fix():
    names = classes_of_errors()
    made = [(file, call) for file, tree in TREES.items() for call in constructions(tree, names)]
    assert len(made) > 150
    wrong = [f"{file}:{call.lineno}" for file, call in made if len(call.args) != 3 or call.keywords]
    assert not wrong


def test_no_error_is_built_with_its_fix_in_the_text_nor_read_back_from_it():
    wrong = []
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if ("    → " in text or text == "→ ") and file.name != "errors.py":
                wrong.append(f"{file}:{node.lineno} glues a fix into a text")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                parsing = node.func.attr in ("partition", "rpartition", "split", "rsplit", "index", "find")
                if parsing and any("→" in ast.unparse(argument) for argument in node.args):
                    wrong.append(f"{file}:{node.lineno} reads a fix out of a text")
    assert not wrong
