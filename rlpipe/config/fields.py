"""The fields of a composed config: path, type, value, and the text that documents each.

A field's documentation is the string under the field in its dataclass; it is read from the source, so
that help, error messages and generated docs all say the same.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


@dataclass(frozen=True)
class Field:
    """One leaf of a config."""

    path: str
    """Dotted, as the command line names it."""
    type: str
    """As the dataclass writes it."""
    value: Any
    """As composed; an interpolation that leads nowhere stays as it is written."""
    doc: str

    @property
    def shown(self) -> str:
        """The value as the command line would write it."""
        if isinstance(self.value, Enum):
            return self.value.name
        if isinstance(self.value, bool):
            return str(self.value).lower()
        if self.value is None:
            return "null"
        if isinstance(self.value, list):
            return "[" + ",".join(map(str, self.value)) + "]"
        return "{}" if self.value == {} else str(self.value)


@dataclass(frozen=True)
class Declaration:
    """What a dataclass's source says of one field."""

    type: str
    doc: str
    owner: builtins.type


def fields(config: DictConfig, prefix: str = "") -> Iterator[Field]:
    """Yield the leaves of a composed config, in the order in which their classes declare them."""
    node_type = OmegaConf.get_type(config)
    declared = declarations(node_type) if node_type is not None and dataclasses.is_dataclass(node_type) else {}
    for key in declared or list(config):
        path = f"{prefix}{key}"
        if OmegaConf.is_missing(config, key):
            value: Any = "???"
        else:
            try:
                value = config[key]
            except OmegaConfBaseException:
                value = OmegaConf.to_container(config, resolve=False)[key]  # type: ignore[index]
        if isinstance(value, DictConfig) and not (declared and _is_free(config, key)):
            yield from fields(value, path + ".")
            continue
        if isinstance(value, DictConfig | ListConfig):
            value = OmegaConf.to_container(value, resolve=False)
        known = declared.get(str(key))
        doc = known.doc if known else ""
        if isinstance(value, Enum) and not doc:
            doc = (type(value).__doc__ or "").split("\n")[0]
        yield Field(path, known.type if known else type(value).__name__, value, doc)


def _is_free(config: DictConfig, key: Any) -> bool:
    """Whether a node is a mapping whose keys no class declares (`method.extra`, `dataset.columns`)."""
    kinds = config[key]._metadata.element_type, OmegaConf.get_type(config, key)
    return not any(dataclasses.is_dataclass(kind) for kind in kinds)


def declarations(cls: type) -> dict[str, Declaration]:
    """Return what the sources of a dataclass and its bases say of each field, bases first."""
    found: dict[str, Declaration] = {}
    for owner in reversed(cls.__mro__):
        for name, (annotation, doc) in _declared_in(owner).items():
            inherited = found.get(name)
            found[name] = Declaration(annotation, doc or (inherited.doc if inherited else ""), owner)
    if not dataclasses.is_dataclass(cls):
        return found
    names = [field.name for field in dataclasses.fields(cls)]
    unread = Declaration("", "", cls)
    return {name: found.get(name, unread) for name in names}


def values(cls: type[Enum]) -> dict[str, str]:
    """Return the members of an enumeration by name, each with the string under it."""
    documented = _declared_in(cls)
    return {member.name: documented.get(member.name, ("", ""))[1] for member in cls}


def _declared_in(cls: type) -> dict[str, tuple[str, str]]:
    if cls.__module__ == "builtins":
        return {}
    try:
        tree = _tree(inspect.getsourcefile(cls) or "")
    except (OSError, TypeError):
        return {}  # a class made at run time has no source: its fields stand without documentation
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            return dict(_documented(node))
    return {}


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each assigned name with its annotation and the string that follows it."""
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        doc = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            doc = inspect.cleandoc(str(following.value.value))
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, (ast.unparse(statement.annotation), doc)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            yield statement.targets[0].id, ("", doc)


@functools.cache
def _tree(file: str) -> ast.Module:
    with open(file, encoding="utf-8") as source:
        return ast.parse(source.read())
