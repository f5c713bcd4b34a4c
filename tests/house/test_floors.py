"""The house: which rooms there are, on which floors, and that no import runs upward.

The code is read, not run, so that imports inside functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.house.parsed import parsed

PACKAGE = Path(__file__).resolve().parents[2] / "rlpipe"

FLOORS = (  # from the ground up; a file imports from its own room and from lower floors
    ("core", "statistics"),
    ("hub",),
    ("config",),
    ("datasets", "records", "trackers"),
    ("models", "tools", "environments", "stages", "report", "launchers"),
    ("engines",),
    ("methods", "rewards"),
    ("training", "evaluations"),
    ("run",),
    ("sweep",),
    ("cli", "testing"),
    ("__main__",),
)
LEVEL = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


@functools.cache
def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(module: str, file: Path, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """Yield the modules of the package that a file imports, wherever in it, with the line."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "rlpipe":
            assert node.level == 0, f"{file}:{node.lineno} is a relative import"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield (whole if whole in known else node.module), node.lineno
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "rlpipe":
                    yield name.name, node.lineno


def room(module: str) -> str:
    """Return the room of a module: the folder or file right under the package."""
    return module.split(".")[1] if "." in module else module


@functools.cache
def arrows() -> dict[str, list[tuple[str, int]]]:
    """Return what each module imports from the package, with the lines."""
    known = modules()
    return {module: list(imports(module, file, known)) for module, file in known.items()}


def test_every_room_has_a_floor():
    assert {room(module) for module in modules() if module != "rlpipe"} == set(LEVEL)


def test_no_import_runs_upward():
    upward = [
        f"{module}:{line} imports {target}"
        for module, found in arrows().items()
        for target, line in found
        if "rlpipe" not in (module, target)
        if room(target) != room(module) and LEVEL[room(target)] >= LEVEL[room(module)]
    ]
    assert not upward, "\n".join(upward)


def test_files_do_not_import_each_other_in_circles():
    graph = {module: {target for target, _ in found if target != module} for module, found in arrows().items()}
    assert list(circles(graph)) == []


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield the strongly connected sets of more than one module (Tarjan, doi:10.1137/0201010)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph.get(module, ())):
            if target not in index:
                yield from visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            together = [stack.pop()]
            while together[-1] != module:
                together.append(stack.pop())
            if len(together) > 1:
                yield sorted(together)

    for module in sorted(graph):
        if module not in index:
            yield from visit(module)


def test_circles_are_found():
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()})) == [["a", "b", "c"]]


ODD = {
    "beyond 450 lines": set(),
    "below 25 lines, with one importer": set(),
    "a function beyond 60 lines": set(),
}
"""What is odd and known to be: each has a reason beside it, in the file itself."""


def test_what_is_odd_is_known():
    users = defaultdict(set)
    for module, imported in arrows().items():
        for target, _ in imported:
            users[target].add(module)
    found: dict[str, set[str]] = {kind: set() for kind in ODD}
    for module, file in modules().items():
        text = file.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > 450:
            found["beyond 450 lines"].add(module)
        if 0 < lines < 25 and len(users[module]) == 1 and file.name != "__init__.py":
            found["below 25 lines, with one importer"].add(module)
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                found["a function beyond 60 lines"].add(f"{module}.{node.name}")
    assert found == ODD


SCRIPTS = sorted(file for folder in ("benchmarks", "docs") for file in (PACKAGE.parent / folder).glob("*.py"))


def names_of(tree: ast.Module) -> set[str]:
    """Return what a module defines or imports at its top."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {name.asname or name.name for name in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return found


def test_scripts_beside_the_package_import_what_is_there():
    """They run by hand, so that a name that has moved would be missed late."""
    known = modules()
    missing = []
    for file in SCRIPTS:
        for node in ast.walk(parsed(file)):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "rlpipe":
                continue
            source = known.get(node.module)
            there = names_of(parsed(source)) if source else set()
            wanted = {name.name for name in node.names}
            missing += [
                f"{file.name}:{node.lineno} {node.module}.{name}"
                for name in sorted(wanted - there)
                if f"{node.module}.{name}" not in known
            ]
    assert len(SCRIPTS) > 5
    assert not missing, "\n".join(missing)
