"""The weights that a run's config names itself: what they were, in one word that fits into a record."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rlpipe.core.errors import ModelError
from rlpipe.stages import identity


def named(source: str, revision: str | None) -> str:
    """Return `sha256:<hex>` of a local folder's files, else `hub:<id>@<revision>`.

    Raises ModelError for what looks like a folder and is not there.
    """
    if not Path(source).expanduser().is_dir() and (source.startswith((".", "/", "~")) or source.count("/") != 1):
        raise ModelError(
            f"model.source={source}: there is no such folder here\n    → put the weights there, or work in the folder "
            "that the run was started from"
        )
    name = identity.weights(source, revision)
    return name if name.startswith("hub:") else f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
