"""Naming a run's result by all that determines it, and by nothing else."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rlpipe.config.compose import to_plain
from rlpipe.config.relevance import STAGE, changes
from rlpipe.config.resolved import Resolved, resolve
from rlpipe.config.schema import RunConfig
from rlpipe.core.paths import store_dir
from rlpipe.records.provenance import NUMERIC_PACKAGES
from rlpipe.stages import identity
from rlpipe.stages.data import data
from rlpipe.stages.lineage import FROZEN, other_parents, start_parent

RECORDED = {
    "model": "model",
    "data": "data_files",
    "reference": "reference_files",
    "rows": "rows_files",
    "tokens": "tokens_files",
}
"""Under which key of the manifest the hashes of a product's files stand."""


@dataclass(frozen=True)
class Stage:
    """A run that makes a model or rows for other runs, and where its result is or will be."""

    config: RunConfig
    """With the stage's folder as `run_dir`."""
    fingerprint: str
    inputs: dict[str, Any]
    """All that the fingerprint was made from, to explain it with."""
    overrides: tuple[str, ...] = field(default=(), compare=False)
    """What names it in the run that asks for it; it inherits the rest."""

    @property
    def name(self) -> str:
        """`<method>-<dataset>-<12 hex>`, as the store's folder is called."""
        return f"{self.config.method.name}-{self.config.dataset.name}-{self.fingerprint[:12]}"

    @property
    def folder(self) -> Path:
        """The stage's run directory."""
        return store_dir(self.config.store) / self.name

    @property
    def makes(self) -> str:
        """`model` or `data`; what makes nothing leaves its model as it was."""
        return resolve(self.config).method.makes or "model"

    @property
    def product(self) -> Path:
        """The folder of what the stage makes."""
        return self.folder / self.makes


def describe(config: RunConfig) -> Stage:
    """Return the stage that a run's config stands for, without building anything.

    Raises what reading the run's own rows raises: their content is part of the name.
    """
    resolved, parent, others = resolve(config), start_parent(config), other_parents(config)
    made = {path: describe(run).fingerprint for path, run in others.items() if not path.startswith("evaluation.")}
    rows = made.pop("dataset.stage", None)
    inputs = {
        "config": relevant(config),
        "data": rows or _rows(resolved),
        "model": describe(parent).fingerprint if parent else _model(resolved),
        "versions": {name: _version(name) for name in NUMERIC_PACKAGES},
    }
    if made | models(config):
        inputs["others"] = made | models(config)
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    stage = Stage(config, hashlib.sha256(canonical.encode()).hexdigest(), inputs)
    return dataclasses.replace(stage, config=dataclasses.replace(config, run_dir=str(stage.folder)))


def relevant(config: RunConfig) -> dict[str, Any]:
    """Return the plain config without what does not change the result, or counts by what it leads to."""
    plain, whole = to_plain(config), to_plain(config)
    _prune(plain, whole)
    if config.environment is None:  # as in stages that are older than environments
        del plain["environment"]
    if _held_out_counts(resolve(config)):
        plain["dataset"]["test_limit"] = config.dataset.test_limit
    del plain["watch"]  # without a say in the weights it is none of their inputs
    if config.watch.decides:
        plain |= {"watch": whole["watch"], "evaluation": whole["evaluation"]}
    return plain


def _held_out_counts(resolved: Resolved) -> bool:
    """Return whether the result depends on held-out rows too."""
    return resolved.method.makes == "data" or resolved.config.watch.decides


def _prune(node: dict[str, Any], whole: dict[str, Any], prefix: str = "") -> None:
    """Take out of a plain config, in place, the keys that a fingerprint does not hold."""
    for name in list(node):
        if changes(prefix + name, whole) not in STAGE:
            del node[name]
        elif isinstance(node[name], dict) and node[name]:
            _prune(node[name], whole, f"{prefix}{name}.")
            if not node[name]:
                del node[name]


def _model(resolved: Resolved) -> str:
    """Name the weights a run starts from: a hash of a local folder's files, else the hub's id and revision."""
    model, made_of = resolved.config.model, resolved.model.made_of
    if model.source is None and made_of is not None:
        return f"{model.name} {identity.weights(str(made_of), None)}"
    return model.name if model.source is None else identity.weights(model.source, model.revision)


def models(config: RunConfig) -> dict[str, str]:
    """Name the models that rewards, reference and teacher take from a folder, the hub or an endpoint, by dotted key."""
    nodes: dict[str, Any] = {f"reward.{name}": node for name, node in config.reward.items()}
    nodes |= {f"method.{role}": getattr(config.method, role, None) for role in FROZEN}
    named = {}
    for path, node in nodes.items():
        model, revision = getattr(node, "model", None), getattr(node, "revision", None)
        if model is not None:
            named[f"{path}.model"] = identity.weights(model, revision)
    return named


def _rows(resolved: Resolved) -> str:
    rows = data(resolved.config)
    return f"{rows.train}+{rows.test}" if _held_out_counts(resolved) else rows.train


@functools.cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
