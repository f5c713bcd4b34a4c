"""What a key of a resolved config changes, read from what the fields say of themselves (`rlpipe.config.settings`)."""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from rlpipe.config import plugins
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Changes, Statement, statement, written
from rlpipe.core.files import Row

STAGE = (Changes.result, Changes.seed)
"""What a stage's fingerprint holds as it stands in the config."""
ARM = (Changes.result, Changes.indirect)
"""What runs of one arm have in common."""


def changes(key: str, config: Row) -> Changes:
    """Return what a dotted key of a resolved config changes; a field that says it speaks for all that stands under it.

    One that changes nothing says so for itself. A key that no class declares, or whose plugin is not installed, counts
    as changing the result.
    """
    stated = [one.changes or Changes.result for one in _statements(key, config)]
    if Changes.nothing in stated:
        return Changes.nothing
    return next((one for one in stated if one is not Changes.result), Changes.result)


def timed(config: Row) -> Row:
    """Return what of a resolved config changes how long a step takes, by dotted keys."""
    return {key: value for key, value in flat(config).items() if _last(_statements(key, config)).timed}


def rounding(key: str, config: Row) -> bool:
    """Return whether another value of a dotted key changes results by rounding alone."""
    return _last(_statements(key, config)).rounding


def _last(statements: Iterator[Statement]) -> Statement:
    return functools.reduce(lambda _, one: one, statements, Statement(None, None))


def _statements(key: str, config: Row) -> Iterator[Statement]:
    """Yield what is said of each field on the way to a dotted key; it ends where no class declares the next."""
    return (statement(cls, name) for cls, name, _ in _owners(key, config))


def _owners(key: str, config: Row) -> Iterator[tuple[type, str, bool]]:
    """Yield the class and the name of each field on the way to a dotted key, and whether it is the key's own."""
    cls: type | None = RunConfig
    parts = key.split(".")
    while parts and cls is not None:
        name = parts.pop(0)
        if not any(one.name == name for one in dataclasses.fields(cls)):
            return
        yield cls, name, not parts
        if cls is RunConfig and name in plugins.KINDS:
            several = name in plugins.SEVERAL
            node = (config.get(name) or {}).get(parts[0] if several and parts else "name")
            chosen = node.get("name") if several and isinstance(node, Mapping) else node
            parts = parts[1:] if several else parts
            cls = _plugin_config(name, chosen) or _nested(cls, name)
        else:
            cls = _nested(cls, name)


def without(node: Any, *left_out: Changes) -> Row:
    """Return a config node's own fields, by name, but for those that change no more than this."""
    values = {one.name: getattr(node, one.name) for one in dataclasses.fields(node)}
    return {name: value for name, value in values.items() if statement(type(node), name).changes not in left_out}


def differing(old: Row, new: Row) -> list[str]:
    """Return the dotted keys in which two resolved configs differ, but for those that no result depends on.

    A field that is younger than the old config held its default there.
    """
    before, after = flat(old), flat(new)
    absent = object()
    changed = [key for key in sorted(before | after) if before.get(key, absent) != after.get(key, absent)]
    young = {key for key in changed if key not in before and after[key] == _default(key, new)}
    return [
        key
        for key in changed
        if key not in young and changes(key, new) is not Changes.nothing and not (_idle(key, old) and _idle(key, new))
    ]


def _idle(key: str, config: Row) -> bool:
    """Return whether a field has no effect, by what it says of another of the same class."""
    reason = _last(_statements(key, config)).unused_if
    if not reason:
        return False
    other, sign, idle = re.split("(!?=)", reason)
    value = flat(config).get(f"{key.rpartition('.')[0]}.{other}")
    return (written(value) == idle) is (sign == "=")


def _default(key: str, config: Row) -> Any:
    """Return a field's default in plain types; what no JSON holds where the key names none, or it has none."""
    for cls, name, last in _owners(key, config):
        if last:
            [one] = [one for one in dataclasses.fields(cls) if one.name == name]
            value = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
            return value.name if isinstance(value, Enum) else value
    return dataclasses.MISSING


def flat(config: Row, prefix: str = "") -> Row:
    """Return a nested mapping as dotted keys; lists stay whole."""
    dotted: Row = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            dotted |= flat(dict(value), f"{prefix}{key}.")
        else:
            dotted[f"{prefix}{key}"] = value
    return dotted


def settings(node: Any, prefix: str = "") -> Iterator[tuple[type, str, str, Any]]:
    """Yield each leaf of a config object: the class that has it, its name, its dotted path and its value."""
    for one in dataclasses.fields(node):
        value, path = getattr(node, one.name), f"{prefix}{one.name}"
        if dataclasses.is_dataclass(value):
            yield from settings(value, f"{path}.")
        elif isinstance(value, Mapping) and any(map(dataclasses.is_dataclass, value.values())):
            for name, inner in value.items():
                yield from settings(inner, f"{path}.{name}.")
        else:
            yield type(node), one.name, path, value


def _plugin_config(kind: str, name: Any) -> type | None:
    plugin = plugins.table()[kind].get(str(name))
    return plugin.cls.Config if plugin is not None and plugin.cls is not None else None


@functools.cache
def _nested(cls: type, name: str) -> type | None:
    """Return the config class that a field holds, alone, as an option or as a mapping's values; None for a leaf."""
    hint = typing.get_type_hints(cls)[name]
    return next((one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)), None)  # type: ignore[return-value]
