"""`after=[method=sft,dataset=smoltalk]`: a list of overrides, as a person types it.

Hydra's grammar has no `=` inside a list. Where a list is the value of a field that names a run (`model.stage`,
`reward.reward_model.stage`), its parts are put into quotes. `after` is a group, where Hydra expects the name of an
option: there the list becomes an option of that group, made on the spot. Nor has the grammar letters beyond ASCII or
signs like `~` without quotes: a value that it cannot read is put into quotes (`run_dir=/home/josé/my runs`). Records
and messages show what was typed.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

_OVERRIDE = re.compile(r"(after|\+{0,2}(?:[\w-]+\.)+stage)=(.*=.*)", re.DOTALL)
_PLAIN = re.compile(r"[\w.+~@/-]+=[\w.,:/+-]*", re.ASCII)
"""What Hydra surely reads as it stands, so that nothing has to be tried."""
_typed: dict[str, str] = {}


def as_options(overrides: Iterable[str]) -> list[str]:
    """Turn literal lists of overrides into what Hydra understands; a sweep may have several (`after=[…],[…]`)."""
    return [_as_option(override) for override in overrides]


def as_typed(overrides: Iterable[str]) -> list[str]:
    """Undo `as_options`."""
    return [_typed.get(override, override) for override in overrides]


def _as_option(override: str) -> str:
    found = _OVERRIDE.fullmatch(override.strip())
    if found is not None:
        key, choices = found[1], _parts(found[2])
        made = [_literal(key, choice) for choice in choices]
    elif _PLAIN.fullmatch(override) is None and "=" in override and not _readable(override):
        key, _, value = override.partition("=")
        choices = _parts(value)
        made = [choice if choice[0] in "[{'\"$" else _quoted(choice) for choice in choices]
    else:
        return override
    if made == choices:
        return override
    for one, choice in zip(made, choices, strict=True):
        _typed[f"{key}={one}"] = f"{key}={choice}"
    together = f"{key}={','.join(made)}"
    _typed[together] = override
    return together


def _readable(override: str) -> bool:
    """Whether Hydra's grammar reads an override as it stands; it knows no letters beyond ASCII without quotes."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _literal(key: str, text: str) -> str:
    """Return what stands for one list, or anything else as it is."""
    if not (text.startswith("[") and text.endswith("]") and "=" in text):
        return text
    if key != "after":
        return f"[{','.join(map(_quoted, split(text[1:-1])))}]"
    name = "list_" + hashlib.sha256(text.encode()).hexdigest()[:12]
    ConfigStore.instance().store(group="after", name=name, node={"after": split(text[1:-1])}, package="_global_")
    return name


def split(text: str) -> list[str]:
    """Split at the commas that stand outside brackets and quotes; quotes around a whole part are taken off."""
    return [_unquoted(part) for part in _parts(text)]


def _parts(text: str) -> list[str]:
    parts, depth, quote, escaped = [""], 0, "", False
    for sign in text:
        if quote:
            quote = "" if sign == quote and not escaped else quote
            escaped = sign == "\\" and not escaped
        elif sign in "'\"":
            quote = sign
        elif sign in "[{(":
            depth += 1
        elif sign in "]})":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def _unquoted(part: str) -> str:
    """Take off the quotes around a whole part, with the backslashes before quotes inside, as Hydra does."""
    sign = part[0]
    if len(part) < 2 or sign not in "'\"" or part[-1] != sign or re.search(rf"(?<!\\){sign}", part[1:-1]):
        return part
    return re.sub(rf"(\\+){sign}", lambda found: "\\" * (len(found[1]) // 2) + sign, part[1:-1])


def _quoted(part: str) -> str:
    """Put a part into quotes as Hydra reads them: backslashes count only before a quote."""
    inner = re.sub(r"(\\*)(')", lambda found: found[1] * 2 + r"\'", part)
    return "'" + re.sub(r"(\\+)$", lambda found: found[1] * 2, inner) + "'"


def key_of(override: str) -> str:
    """Return the key of an override, without the signs that add, force or delete."""
    return override.split("=", 1)[0].lstrip("+~").strip()


def go_on(run_dir: Path, overrides: Sequence[str]) -> str:
    """Return the command that goes on with an unfinished run, whose own overrides are given."""
    return command(*without_run_dir(overrides), f"run_dir={run_dir}")


def without_run_dir(overrides: Sequence[str]) -> list[str]:
    """Return overrides but for the one that names the run's folder."""
    return [override for override in overrides if key_of(override) != "run_dir"]


def command(*words: str) -> str:
    """Return a command line of rlpipe, as a shell takes it: a run's overrides, or a command with its arguments."""
    return shlex.join(["rlpipe", *words])
