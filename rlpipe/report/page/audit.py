"""What training really saw, token by token, as each run's audit wrote it down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rlpipe.core.files import Row
from rlpipe.records.runs import Run

MOST_AUDITS = 4
"""Different audits that are shown."""
MOST_TOKENS = 1500
"""Tokens of a sequence that are shown."""

_FACTS = ("rows", "sequences", "trained_share", "stop_share", "written_share", "stop_tokens", "untrained", "leaking")


def audits(arms: Sequence[tuple[str, Run]]) -> list[Row]:
    """Return the different audits of arms (label and a run of each): whose, numbers, findings, sequences of tokens."""
    found: dict[str, Row] = {}
    for label, run in arms:
        audit = run.read("audit.json")
        if not audit or not isinstance(audit.get("shown"), list):
            continue
        key = json.dumps(audit, sort_keys=True)
        if key in found:
            found[key]["arms"].append(label)
        elif len(found) < MOST_AUDITS:
            found[key] = _audit(audit, label)
    return list(found.values())


def _audit(audit: Row, label: str) -> Row:
    facts = [(name.replace("_", " "), _fact(name, audit[name])) for name in _FACTS if audit.get(name) is not None]
    findings = [*audit.get("errors", []), *audit.get("warnings", [])]
    notes = audit.get("notes", [])
    shown = [_sequence(one) for one in audit["shown"]]
    return {"arms": [label], "facts": facts, "findings": findings, "notes": notes, "shown": shown}


def _fact(name: str, value: Any) -> str:
    if name.endswith("_share"):
        return f"{value:.0%}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sequence(shown: Row) -> Row:
    """Return a sequence with its tokens as (text, class): `t` trained, `u` not; stop tokens `s` and `x`."""
    kinds = {(True, False): "t", (False, False): "u", (True, True): "s", (False, True): "x"}
    tokens = shown.get("tokens", [])
    kept = [(_visible(one["text"]), kinds[bool(one["trained"]), bool(one["stop"])]) for one in tokens[:MOST_TOKENS]]
    cut = max(0, len(tokens) - MOST_TOKENS)
    return {"title": shown.get("title", ""), "prefix": shown.get("prefix", ""), "tokens": kept, "cut": cut}


def _visible(text: str) -> str:
    return text.replace("\n", "↵\n")
