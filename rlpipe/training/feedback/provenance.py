"""Where a row of AI feedback comes from: the policy, the judge, how responses were drawn, and by which versions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rlpipe.config.relevance import without
from rlpipe.config.settings import Changes
from rlpipe.methods.ai_feedback import AIFeedbackConfig
from rlpipe.records.provenance import packages, plain, rlpipe_version

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.models.base import Loaded


def provenance(config: RunConfig, method: AIFeedbackConfig, loaded: Loaded) -> dict[str, Any]:
    """Return the columns that all rows of a run share."""
    sampling = asdict(method.sampling) | {"samples": method.samples, "seed": config.seed}
    return {
        "policy": {"model": config.model.name, "weights": _weights(loaded.path)},
        "judge": {name: _judge(name, config) for name in config.reward},
        "mode": method.mode.value,
        "sampling": sampling,
        "versions": {"rlpipe": rlpipe_version()} | packages(("torch", "transformers")),
    }


def _weights(folder: str) -> str:
    """Name weights by the content of their folder."""
    from rlpipe.stages import identity

    return _short(identity.weights(folder, None))


def _judge(name: str, config: RunConfig) -> dict[str, Any]:
    """Name a reward: its plugin, its model or the stage that makes it, and a hash of all that changes scores."""
    from rlpipe.stages.fingerprint import describe
    from rlpipe.stages.lineage import other_parents

    node = config.reward[name]
    settings = plain(without(node, Changes.nothing))
    settings.pop("stage", None)
    made = other_parents(config).get(f"reward.{name}.stage")
    model = describe(made).name if made is not None else settings.get("model")
    return {"plugin": node.name, "model": model, "settings": _short(json.dumps([settings, model], sort_keys=True))}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
