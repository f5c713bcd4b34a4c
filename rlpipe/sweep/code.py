"""Which code a sweep was rehearsed with, and whether a job runs on another."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rlpipe.core.paths import PACKAGE
from rlpipe.records import provenance


def state(folder: Path) -> dict[str, Any]:
    """Return the state of the code: rlpipe's version, and commits with a hash of what is uncommitted.

    The repositories are that of `folder`, where the sweep is started, and rlpipe's own where it runs from a checkout.
    """
    found: dict[str, Any] = {"version": provenance.rlpipe_version()}
    for name, place in (("here", folder), ("rlpipe", PACKAGE)):
        repository, diff = provenance.code(place)
        found[f"{name}_commit"] = repository["commit"]
        found[f"{name}_diff"] = hashlib.sha256(diff).hexdigest() if diff else None
    return found


def changed(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Say how the code differs from what it was when the sweep was rehearsed; None when it does not."""
    keys = [key for key in _WORDS if before.get(key) != now.get(key)]
    if not keys:
        return None
    parts = ", ".join(f"{_WORDS[key]} {_short(before.get(key))} then, {_short(now.get(key))} now" for key in keys)
    return f"the code is another than the one that the sweep was rehearsed with: {parts}"


_WORDS = {
    "version": "version of rlpipe",
    "here_commit": "commit",
    "here_diff": "uncommitted changes",
    "rlpipe_commit": "commit of rlpipe",
    "rlpipe_diff": "uncommitted changes of rlpipe",
}


def _short(value: str | None) -> str:
    return value[:12] if value else "none"
