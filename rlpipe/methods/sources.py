"""What a library's config class takes, read from its source: its fields, types and refusals, without importing it.

Importing TRL's config classes imports torch, which takes ten seconds and more; a check must not. What the source does
not say plainly (a type that it computes, a refusal that depends on the machine) is left to the class itself.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_LISTED = re.compile(r"(?:[Mm]ust be one of|[Pp]ossible values are):? ([^.]*)")
_INTERVAL = re.compile(r"[Mm]ust be in \[(-?[\d.]+), (-?[\d.]+)\]")
_CALLS = {one.__name__: one for one in (len, isinstance, int, float, str, bool, list, dict, abs, min, max, any, all)}


@dataclass(frozen=True)
class LibraryField:
    """One field of a library's config class."""

    annotation: str
    """The type, as the source writes it."""
    default: Any
    """The default; `...` where the source computes it."""
    choices: tuple[str, ...] = ()
    """The only values that it may have, where the source lists them."""
    interval: tuple[float, float] | None = None
    """The least and the most that it may be, where the source says so."""

    def misfit(self, value: Any) -> str | None:
        """Return what the field takes where a value is of another type or lies outside, else None."""
        if self.choices and isinstance(value, str) and value not in self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.interval and isinstance(value, int | float) and not self.interval[0] <= value <= self.interval[1]:
            return f"a number from {self.interval[0]:g} to {self.interval[1]:g}"
        return None if _fits(value, ast.parse(self.annotation, mode="eval").body) else self.annotation


@dataclass(frozen=True)
class _Class:
    """A class as it stands in a file."""

    module: str
    node: ast.ClassDef


def fields(module: str, name: str) -> Mapping[str, LibraryField] | None:
    """Return the fields of a config class that a module offers, bases first; None where its source is not found."""
    found: dict[str, LibraryField] = {}
    for cls in reversed(_classes(module, name)):
        for statement in cls.node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                found[statement.target.id] = _field(cls.module, statement)
    return found or None


def refusals(module: str, name: str, given: Mapping[str, Any], all_values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words with which a config class refuses values: `if …: raise …` as its methods have it.

    `given` are the values that count, by their fields, `all_values` those of every field that is known. A condition
    is worked out only where it reads a given value, and reads nothing that is not known.
    """
    values = SimpleNamespace(**{**all_values, **given})
    for cls in _classes(module, name):
        for method in cls.node.body:
            if isinstance(method, ast.FunctionDef) and method.name in ("__post_init__", "_validate_args"):
                yield from _refused(method.body, [], values, set(given), _changed(method) - set(given))


def _refused(
    body: list[ast.stmt], conditions: list[ast.expr], values: Any, given: set[str], changed: set[str]
) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.Raise) and conditions:
            read = {node.attr for one in conditions for node in ast.walk(one) if isinstance(node, ast.Attribute)}
            if read & given and not read & changed and all(_value(one, values) is True for one in conditions):
                yield _words(statement, values)
        elif isinstance(statement, ast.If):
            yield from _refused(statement.body, [*conditions, statement.test], values, given, changed)
            otherwise = ast.UnaryOp(ast.Not(), statement.test)
            yield from _refused(statement.orelse, [*conditions, otherwise], values, given, changed)


def _changed(method: ast.FunctionDef) -> set[str]:
    """Return the attributes that a method sets: what they are at a condition is not known."""
    attributes = (node for node in ast.walk(method) if isinstance(node, ast.Attribute))
    return {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}


def _value(expression: ast.expr, values: Any) -> Any:
    """Work an expression of the source out; None where it reads what is not known."""
    code = compile(ast.fix_missing_locations(ast.Expression(expression)), "<source>", "eval")
    with contextlib.suppress(AttributeError, NameError, TypeError, ValueError, ZeroDivisionError):
        found = eval(code, {"__builtins__": _CALLS}, {"self": values})
        return bool(found) if not isinstance(found, str) else found
    return None


def _words(statement: ast.Raise, values: Any) -> str:
    arguments = statement.exc.args if isinstance(statement.exc, ast.Call) else []
    text = _value(arguments[0], values) if arguments else None
    return text if isinstance(text, str) else "the value does not go with the others"


def _field(module: str, statement: ast.AnnAssign) -> LibraryField:
    default, metadata = _parts(statement.value)
    annotation = statement.annotation
    choices = tuple(one for one in metadata.get("choices", ()) if isinstance(one, str))
    for name in (node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)):
        choices += _members(module, name)
    help = metadata.get("help", "")
    if not choices and isinstance(default, str) and (listed := _LISTED.search(help)):
        names = tuple(dict.fromkeys(re.findall(r"`'?([\w-]+)'?`", listed[1])))
        choices = names if default in names and "True" not in names else ()
    interval = _INTERVAL.search(help)
    bounds = (float(interval[1]), float(interval[2])) if interval else None
    return LibraryField(ast.unparse(annotation), default, choices, bounds)


def _parts(value: ast.expr | None) -> tuple[Any, dict[str, Any]]:
    """Return a field's default, `...` where it is no plain value, and what is plain of its metadata."""
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field"):
        return (_plain(value) if value is not None else ...), {}
    keywords = {one.arg: one.value for one in value.keywords}
    metadata = keywords.get("metadata")
    pairs = zip(metadata.keys, metadata.values, strict=True) if isinstance(metadata, ast.Dict) else ()
    known = {_plain(key): _plain(inner) for key, inner in pairs if key is not None}
    default = _plain(keywords["default"]) if "default" in keywords else ...
    return default, {key: inner for key, inner in known.items() if inner is not ...}


def _plain(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...


def _fits(value: Any, annotation: ast.expr) -> bool:
    """Whether a plain value is of a type; one that is no plain type fits everything."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str(text)):
            return _fits(value, ast.parse(text, mode="eval").body)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return any(value == _plain(one) for one in (inner.elts if isinstance(inner, ast.Tuple) else [inner]))
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return isinstance(value, list) and all(_fits(one, inner) for one in value)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=kinds)):
            return isinstance(value, list) and len(value) == len(kinds) and all(map(_fits, value, kinds))
        case ast.Subscript(value=outer):
            return _fits(value, outer)
        case ast.Name(id=name):
            return _is(value, name)
    return True


def _is(value: Any, name: str) -> bool:
    if name in ("int", "float") and isinstance(value, bool):
        return False
    kinds: dict[str, Any] = {"int": int, "float": int | float, "str": str, "bool": bool, "list": list, "dict": dict}
    # A class of the library's own can only have come as a mapping.
    return isinstance(value, kinds[name]) if name in kinds else name == "Any" or isinstance(value, dict)


@functools.cache
def _members(module: str, name: str) -> tuple[str, ...]:
    """Return the values of an enumeration of strings that a module defines or imports; empty for any other name."""
    for cls in _classes(module, name):
        if any("Enum" in ast.unparse(base) for base in cls.node.bases):
            values = [_plain(one.value) for one in cls.node.body if isinstance(one, ast.Assign)]
            return tuple(value for value in values if isinstance(value, str))
    return ()


@functools.cache
def _classes(module: str, name: str) -> list[_Class]:
    """Return a class that a module defines or imports, and its bases as far as they are found, itself first."""
    path = _file(module)
    if path is None:
        return []
    tree = _tree(path)
    for defined in tree.body:
        if isinstance(defined, ast.ClassDef) and defined.name == name:
            bases = [_classes(module, base.id) for base in defined.bases if isinstance(base, ast.Name)]
            return [_Class(module, defined), *(one for base in bases for one in base)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and name in [one.asname or one.name for one in node.names]:
            original = next(one.name for one in node.names if (one.asname or one.name) == name)
            source = _absolute(module, path.name == "__init__.py", node)
            if found := _classes(source, original):
                return found
    return []


def _absolute(module: str, is_package: bool, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


@functools.cache
def _file(module: str) -> Path | None:
    """Return a module's source. Only the outermost package is looked for by Python, which imports nothing."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top) if top else None
    for folder in spec.submodule_search_locations or [] if spec is not None else []:
        place = Path(folder, *inner)
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                return file
    return None


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
