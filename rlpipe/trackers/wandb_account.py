"""Where W&B's client will send what it is given, and with which key: by the same sources, without importing it.

What the environment says goes before the settings file of the folder, and that before the user's, as in wandb 0.31
(`wandb/sdk/wandb_setup.py`, `wandb/sdk/lib/wbauth`).
"""

from __future__ import annotations

import configparser
import netrc
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

SERVICE, BEFORE = "https://api.forge.coreweave.com", "https://api.wandb.ai"
"""Where the client sends by default, and where older ones did: a key for that serves here too."""
SHORTEST = 40
"""Letters of a key."""
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")


def setting(name: str, default: str) -> str:
    """Return one of the client's settings: `mode`, `base_url`, `api_key`."""
    if value := os.environ.get(f"WANDB_{name.upper()}"):
        return value
    return _files().get(name, default)


def trouble() -> str | None:
    """Say why the client will find no key that it can use; None where it will."""
    key, token = os.environ.get("WANDB_API_KEY"), os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    if key and token:
        return "WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE are both set, and only one may be"
    if token:
        return None if Path(token).expanduser().is_file() else f"WANDB_IDENTITY_TOKEN_FILE: there is no file {token}"
    server = setting("base_url", SERVICE)
    for source, found in (("WANDB_API_KEY", key), _in_netrc(server), ("api_key", _files().get("api_key"))):
        if found:
            return _unfit(source, found)
    return f"no key {'of W&B' if server in (SERVICE, BEFORE) else f'for {server}'} is known here"


def _unfit(source: str, key: str) -> str | None:
    secret = key.partition("-")[2] or key
    if _TOKEN.fullmatch(key) or (re.fullmatch(r"[\w-]+", secret) and len(secret) >= SHORTEST):
        return None
    return f"the key in {source} is none: keys have {SHORTEST} letters, digits or underscores, or more"


def _in_netrc(server: str) -> tuple[str, str | None]:
    """Return the file that `wandb login` writes, and the key in it; a server is known by its port too."""
    named = os.environ.get("NETRC")
    files = [Path(name).expanduser() for name in ([named] if named else ["~/.netrc", "~/_netrc"])]
    file = next((path for path in files if path.exists()), files[0])
    try:
        keys = netrc.netrc(file)
    except (OSError, netrc.NetrcParseError):
        return str(file), None
    found = [keys.authenticators(urlsplit(one).netloc) for one in (server, *([BEFORE] if server == SERVICE else []))]
    return str(file), next((key for _, _, key in filter(None, found) if key), None)


def _files() -> dict[str, str]:
    """Return what the settings files say; one that cannot be read says nothing, to the client too."""
    user = os.environ.get("WANDB_CONFIG_DIR")
    local = Path(".wandb" if Path(".wandb").exists() else "wandb")
    found: dict[str, str] = {}
    for folder in (Path(user).expanduser() if user else Path("~/.config/wandb").expanduser(), local):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(folder / "settings", encoding="utf-8")
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        found |= dict(parser["default"]) if parser.has_section("default") else {}
    return found
