"""What the code imports is what pyproject.toml declares, and the other way round."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import rlpipe
from tests.house.parsed import parsed

PACKAGE = Path(rlpipe.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

NEVER_IMPORTED = {  # declared because another library looks for them
    "bitsandbytes": "transformers loads quantized models with it",
    "tensorboard": "torch.utils.tensorboard writes with it",
}
MODULES = {"lm-eval": "lm_eval", "math-verify": "math_verify", "gem-llm": "gem", "mlflow-skinny": "mlflow"}
"""What an extra's distribution is imported as: it may be missing here."""


def plain(name: str) -> str:
    """Return a distribution's name without version, in the spelling that indices compare."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~\[;]", name, maxsplit=1)[0]).lower()


NEEDED = {plain(one) for one in PROJECT["dependencies"]}
OPTIONAL = {plain(one) for extra, names in PROJECT["optional-dependencies"].items() if extra != "dev" for one in names}


def imports(node: ast.AST, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the top module of each import below a node, and whether it is done late: in a function, or for types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((one.name.split(".")[0], lazy) for one in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module is not None:
            yield child.module.split(".")[0], lazy
        else:
            for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from imports(child, lazy or for_types or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def imported() -> dict[str, dict[str, bool]]:
    """Return the distributions that are imported, with the files, and whether all imports there are lazy."""
    distributions = packages_distributions() | {module: [name] for name, module in MODULES.items()}
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    for file in PACKAGE.rglob("*.py"):
        where = str(file.relative_to(PACKAGE))
        for module, lazy in imports(parsed(file)):
            if module != "rlpipe" and module not in sys.stdlib_module_names:
                name = plain(distributions.get(module, [module])[0])
                found[name][where] = found[name].get(where, True) and lazy
    return found


def test_every_import_is_declared():
    undeclared = {name: sorted(files) for name, files in imported().items() if name not in NEEDED | OPTIONAL}
    assert not undeclared, f"pyproject.toml does not declare {undeclared}"


def test_nothing_is_declared_in_vain():
    assert (NEEDED | OPTIONAL) - set(imported()) == set(NEVER_IMPORTED)


def test_an_extra_is_imported_where_it_is_used():
    """At a file's top only where the whole file is the extra's, and is itself imported within a function."""
    whole_files = {"evaluations/harness.py", "sweep/trials.py"}
    eager = {
        where
        for name in OPTIONAL - NEEDED
        for where, lazy in imported().get(name, {}).items()
        if not lazy and where not in whole_files
    }
    assert not eager
    for where in whole_files:
        module = "rlpipe." + where.removesuffix(".py").replace("/", ".")
        for file in PACKAGE.rglob("*.py"):
            for node in parsed(file).body:
                assert not (isinstance(node, ast.ImportFrom) and node.module == module), f"{file} imports {module}"


def test_no_dependency_is_an_extra_as_well():
    assert not NEEDED & OPTIONAL
