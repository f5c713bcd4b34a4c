"""Which fields of a config change what."""

from __future__ import annotations

from collections.abc import Mapping

from rlpipe.config import plugins
from rlpipe.core.files import Row

NOT_RESULT = ("run_dir", "until", "store", "objective", "log", "tracker", "checkpoint")
"""The parts of a config that may differ between two attempts of the same run."""


def differing(old: Row, new: Row) -> list[str]:
    """Return the dotted keys in which two resolved configs differ, but for those that no result depends on."""
    before, after = flat(old), flat(new)
    absent = object()
    changed = [key for key in sorted(before | after) if before.get(key, absent) != after.get(key, absent)]
    return [key for key in changed if key.split(".")[0] not in NOT_RESULT and not _changes_no_score(key, new)]


def _changes_no_score(key: str, config: Row) -> bool:
    """Whether a key is one of a reward's that change no score, such as a judge's budget."""
    kind, name, *rest = [*key.split("."), "", ""]
    if kind != "reward":
        return False
    plugin = plugins.table()["reward"].get(config["reward"].get(name, {}).get("name"))
    return plugin is not None and plugin.cls is not None and rest[0] in plugin.cls.irrelevant


def flat(config: Row, prefix: str = "") -> Row:
    """Return a nested mapping as dotted keys; lists stay whole."""
    dotted: Row = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            dotted |= flat(dict(value), f"{prefix}{key}.")
        else:
            dotted[f"{prefix}{key}"] = value
    return dotted


IRRELEVANT = (
    "run_dir",
    "store",
    "until",
    "objective",
    "log",
    "tracker",
    "checkpoint",
    "hardware",
    "evaluation",
    "dataset.source",
    "dataset.stage",
    "dataset.test_limit",
    "model.source",
    "model.revision",
    "model.stage",
    "model.dataset_source",
    "model.learning_rate_scale",
    "model.parameters",
    "model.context",
    "method.reference",
    "after",
)
"""Dotted keys that do not change the result, or that the fingerprint covers otherwise: rows by the hash of their
content, models by that of their files, both by the fingerprint of the run that makes them, and what the model's own
settings make of a method's defaults by the method's."""
