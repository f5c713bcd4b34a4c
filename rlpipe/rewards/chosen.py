"""What tells rewards apart in a record: their settings, and the weights that they score with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.relevance import without
from rlpipe.config.settings import Changes
from rlpipe.core.files import json_text
from rlpipe.engines.frozen import FrozenModelConfig
from rlpipe.hub.facts import weights_folder
from rlpipe.records.provenance import plain

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


def described(config: RewardConfig, run: RunConfig, policy: str) -> dict[str, Any]:
    """Return all that a reward's own scores depend on, in plain types: its settings, and which weights it scores with.

    `policy` is the folder of the weights that the run starts from.
    """
    settings = plain(without(config, Changes.nothing))
    del settings["weight"]
    if isinstance(config, FrozenModelConfig):
        for key in ("model", "revision", "stage"):
            del settings[key]
        settings["weights"] = weights(run, config.model, config.revision, config.stage, policy)
    return settings


def weights(run: RunConfig, model: str | None, revision: str | None, stage: Sequence[str], policy: str) -> str:
    """Name frozen weights, the same for the same ones: those a stage makes, of a folder or hub id, or the policy's."""
    from rlpipe.stages import identity
    from rlpipe.stages.fingerprint import describe
    from rlpipe.stages.lineage import producer

    if stage:
        return describe(producer(run, stage)).fingerprint
    folder = Path(model or policy).expanduser()
    if not folder.is_dir():
        return identity.weights(str(model), revision)
    files = identity.hashes(weights_folder(folder))
    tensors = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    return hashlib.sha256(json_text(tensors).encode()).hexdigest()
