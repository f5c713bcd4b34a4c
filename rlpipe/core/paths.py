"""Where rlpipe's own files are."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def conf_dir() -> Path:
    """Return the folder of the built-in config groups.

    A wheel carries `conf/` inside the package; a checkout (also an editable install) has it beside
    the package. The checkout wins only where the package has no copy.
    """
    for folder in (PACKAGE / "conf", PACKAGE.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"rlpipe's conf/ folder is missing beside {PACKAGE}: the installation is damaged; reinstall rlpipe"
    )


def store_dir(store: str | None) -> Path:
    """Return the folder of stages: the config's `store`, else $RLPIPE_STORE, else ~/.cache/rlpipe/stages."""
    return Path(store or os.environ.get("RLPIPE_STORE") or "~/.cache/rlpipe/stages").expanduser().absolute()
