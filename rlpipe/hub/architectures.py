"""Which kinds of model transformers has, read from its source: importing its tables imports torch.

Where another version keeps its tables elsewhere, they are empty here, and who asks must take that for not knowing.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from importlib.metadata import version
from pathlib import Path


def model_types() -> frozenset[str]:
    """Return every `model_type` that a config.json may name."""
    return frozenset(_table("CONFIG_MAPPING_NAMES"))


def decoders() -> frozenset[str]:
    """Return the model types that a causal language model can be made of."""
    return frozenset(_table("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"))


def encoders() -> frozenset[str]:
    """Return the model types that are trained to fill gaps in: as decoders they only serve where they say so."""
    return frozenset(_table("MODEL_FOR_MASKED_LM_MAPPING_NAMES"))


def library() -> str:
    """Return the library's name with its version."""
    return f"transformers {version('transformers')}"


@functools.cache
def _table(name: str) -> dict[str, object]:
    """Return a table `NAME = OrderedDict([(key, value), …])` of the `auto` folder, of all files that have it."""
    found: dict[str, object] = {}
    spec = importlib.util.find_spec("transformers")
    for place in spec.submodule_search_locations or [] if spec is not None else []:
        for file in ("auto_mappings.py", "configuration_auto.py", "modeling_auto.py"):
            tree = _tree(Path(place, "models", "auto", file))
            for node in tree.body:
                if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                    found |= _pairs(node.value)
    return found


def _pairs(value: ast.expr) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for node in ast.walk(value):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
            pairs[str(node.elts[0].value)] = ast.unparse(node.elts[1])
        elif isinstance(node, ast.Dict):
            pairs |= {str(key.value): ... for key in node.keys if isinstance(key, ast.Constant)}
    return pairs


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
