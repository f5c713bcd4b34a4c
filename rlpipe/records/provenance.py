"""Where a run's result came from: code, packages, machine; and what must never be written down."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rlpipe.core.paths import PACKAGE

CARRIED = "rlpipe-carried.json"
"""The file beside rlpipe's folder that says, where it was carried to another machine, which code it is (`rlpipe`), and
which was there where the sweep was started (`here`)."""
NUMERIC_PACKAGES = (
    "rlpipe",
    "torch",
    "transformers",
    "trl",
    "datasets",
    "accelerate",
    "peft",
    "tokenizers",
    "safetensors",
    "numpy",
    "bitsandbytes",
    "flash-attn",
    "liger-kernel",
    "vllm",
)
"""The packages whose version can change a number: a record holds their versions, a fingerprint too."""

HIDDEN = "<hidden>"

_SECRET = re.compile(r"api_?key|secret|passw(or)?d|credential|(^|[._-])(token|key)s?$", re.IGNORECASE)
_VOCABULARY = re.compile(
    r"(^|[._-])(bos|eos|pad|unk|sep|cls|mask|stop|image|prompt|turn|special)_tokens?$", re.IGNORECASE
)
_ASSIGNMENT = re.compile(r"""([\w.@/-]+)(["']?\s*[=:]\s*)('[^']*'|"[^"]*"|[^\s,'"\[\]{}]+)""")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?|null")
_OVERRIDE = re.compile(r"[+~]*[\w./@-]+=")
_LOGIN_IN_URL = re.compile(r"(://)[^/\s:@]+:[^/\s@]+@")


def is_secret(name: str) -> bool:
    """Return whether a name is that of a secret: a key or a variable, but no special token of a vocabulary."""
    return bool(_SECRET.search(name)) and not _VOCABULARY.search(name)


def hide(text: str) -> str:
    """Return text without the values of secret environment variables and logins in URLs."""
    for name, value in os.environ.items():
        if len(value) >= 8 and is_secret(name):
            text = text.replace(value, HIDDEN)
    return _LOGIN_IN_URL.sub(rf"\1{HIDDEN}@", text)


def hide_override(text: str) -> str:
    """Return an override without secrets, also where it sets several values (`judge={api_key: …}`).

    Numbers are no secrets: `sampling.max_tokens=64`.
    """

    def shown(match: re.Match[str]) -> str:
        secret = is_secret(match[1]) and not _NUMBER.fullmatch(match[3])
        return match[1] + match[2] + HIDDEN if secret else match[0]

    return _ASSIGNMENT.sub(shown, hide(text))


def plain(value: Any, name: str = "") -> Any:
    """Return a config value as plain YAML and JSON types, without secrets.

    `name` is the key that the value stands under. Numbers and empty values are no secrets.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): plain(item, _inner(name, str(key))) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, name) for item in value]
    if isinstance(value, (str, Path)):
        text = str(value)
        if text and is_secret(name):
            return HIDDEN
        # the overrides of a stage stand in the config as a list of strings
        return hide_override(text) if _OVERRIDE.match(text) else hide(text)
    return value


def _inner(outer: str, key: str) -> str:
    """Return the name that decides about a value under `key`: everything below a secret name is secret."""
    return outer if is_secret(outer) else key


def code(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the state of the git repository that holds `folder`, and its uncommitted changes as a diff.

    Outside a repository, or without git, the state says so and the diff is empty. Where rlpipe was carried to another
    machine, both are what they were when it was.
    """
    carried = PACKAGE.parent / CARRIED
    if carried.is_file():
        found = json.loads(carried.read_bytes())["rlpipe" if folder == PACKAGE else "here"]
        return found["state"], found["diff"].encode("latin-1")
    try:
        commit = _git(folder, "rev-parse", "HEAD").decode().strip()
        root = _git(folder, "rev-parse", "--show-toplevel").decode().strip()
        status = _git(folder, "status", "--porcelain", "--untracked-files=normal").decode(errors="replace")
        diff = _git(folder, "diff", "--binary", "HEAD")
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": None, "why": _reason(error)}, b""
    untracked = [line[3:] for line in status.splitlines() if line.startswith("??")]
    state = {"commit": commit, "root": root, "dirty": bool(status.strip()), "untracked": untracked[:100]}
    return state, hide(diff.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def carry(folder: Path) -> dict[str, Any]:
    """Return what `CARRIED` is to hold of the repository that holds `folder`."""
    state, diff = code(folder)
    return {"state": state, "diff": diff.decode("latin-1")}


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=20).stdout


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    if isinstance(error, subprocess.CalledProcessError):
        return error.stderr.decode(errors="replace").strip().splitlines()[0] if error.stderr else str(error)
    return str(error)


def packages(names: Sequence[str] = NUMERIC_PACKAGES) -> dict[str, str]:
    """Return the installed versions of packages, without importing them."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def rlpipe_version() -> str:
    """Return rlpipe's own version; `unknown` for a checkout that is not installed."""
    try:
        return version("rlpipe")
    except PackageNotFoundError:
        return "unknown"


def hardware() -> dict[str, Any]:
    """Describe the machine: processor, cores that this process may use, memory in bytes, GPUs by name and memory."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cores": usable,
        "memory": _memory(),
        "gpus": _gpus(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _gpus() -> list[str]:
    """Ask nvidia-smi, so that torch need not be imported."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.splitlines() if line.strip()]
