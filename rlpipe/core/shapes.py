"""What shape a value read from JSON must have, and in words where it has another.

    misfit({"step": "3"}, {"step": int})  →  "`step` is a text, not a whole number"

A shape is a type; a set of allowed values; `[shape]`, a list of such; `{str: shape}`, an object of such; or
`{"name": shape, "name?": shape}`, an object with these fields, of which the second may be absent or null. Further
fields are let be.
"""

from __future__ import annotations

from typing import Any

Shape = Any
NUMBER = (int, float)
_WORDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a whole number"}
_WORDS |= {float: "a number", type(None): "null"}


def misfit(value: Any, shape: Shape, at: str = "") -> str | None:
    """Say what of a value has another shape than it must have; None where all fits."""
    if isinstance(shape, frozenset | set):
        fits = isinstance(value, str) and value in shape
        return None if fits else f"{_called(at)} is {_shown(value)}, none of {', '.join(sorted(shape))}"
    kind = type(shape) if isinstance(shape, dict | list) else shape
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds:  # exactly: true is no number
        return f"{_called(at)} is {_WORDS.get(type(value), type(value).__name__)}, not {_WORDS[kinds[-1]]}"
    return next((wrong for wrong in _inside(value, shape, at) if wrong is not None), None)


def _inside(value: Any, shape: Shape, at: str) -> list[str | None]:
    if isinstance(shape, list):
        return [misfit(item, shape[0], f"{at}[{number}]") for number, item in enumerate(value)]
    if not isinstance(shape, dict):
        return []
    prefix = f"{at}." if at else ""
    if str in shape:
        return [misfit(item, shape[str], f"{prefix}{key}") for key, item in value.items()]
    return [_field(value, name, inner, prefix) for name, inner in shape.items()]


def _field(value: dict[str, Any], name: str, shape: Shape, prefix: str) -> str | None:
    key = name.removesuffix("?")
    if name.endswith("?") and value.get(key) is None:
        return None
    return misfit(value[key], shape, prefix + key) if key in value else f"it has no `{prefix}{key}`"


def _called(at: str) -> str:
    return f"`{at}`" if at else "it"


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else _WORDS.get(type(value), type(value).__name__)
