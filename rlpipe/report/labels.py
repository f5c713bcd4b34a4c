"""What to call the arms of a comparison.

An arm is called by its experiment, or by the run before it or the reward that alone tells it apart, where each has its
own, as in a study; else by the fields in which it differs from the others, as few and as short as tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlpipe.config import plugins
from rlpipe.core.files import Row
from rlpipe.records.runs import Run

LONGEST = 48
"""Characters of a value in a label; longer ones are cut where they stay different."""

_CHOICES = ("method.name", "model.name", "dataset.name", "after")
"""Fields that tell arms apart best."""


def named(runs: Sequence[Run]) -> set[str]:
    """Return the keys that the runs' command lines name; a group's own name stands for its option."""
    keys = {override.lstrip("+~").partition("=")[0] for run in runs for override in run.overrides}
    return keys | {f"{key}.name" for key in keys & set(plugins.KINDS)}


def distinct_labels(configs: Sequence[Row], named: set[str]) -> list[str]:
    """Return a short text for each config, no two the same."""
    if len(configs) == 1:
        return [value_text(configs[0].get("method.name", "run"))]
    parts: list[list[tuple[str, Any]]] = [[] for _ in configs]
    _tell_apart(list(range(len(configs))), configs, named, parts)
    short = _short_names({key for fields in parts for key, _ in fields})
    labels = [" ".join(_part(short[key], key, value) for key, value in fields) for fields in parts]
    shortened = [_cut(label) for label in labels]
    return shortened if len(set(shortened)) == len(set(labels)) else labels


def options(groups: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """Return the arms' labels where each is an option of its own, as a study's are; empty where one is not."""
    runs = [run for members in groups.values() for run in members]
    for group in ("experiment", "after", "reward"):
        if group != "experiment" and len({_rest(run, group) for run in runs}) > 1:
            continue
        names = {key: {_option(run, group) for run in members} for key, members in groups.items()}
        found = {key: name for key, [name, *others] in names.items() if name and not others}
        if len(found) > 1 and len(set(found.values())) == len(names):
            return found
    return {}


def _option(run: Run, group: str) -> str | None:
    given = [one.partition("=")[2] for one in run.overrides if one.lstrip("+").startswith(f"{group}=")]
    return given[-1] if given and not given[-1].startswith("[") else None


def _rest(run: Run, group: str) -> frozenset[str]:
    """Return what a run was told besides its option of a group."""
    return frozenset(one for one in run.overrides if not one.lstrip("+").startswith((f"{group}=", "seed=")))


def _tell_apart(places: list[int], configs: Sequence[Row], named: set[str], parts: list[list[tuple[str, Any]]]) -> None:
    """Split configs by the field that says most, and each share by the next, until every config is alone."""
    if len(places) < 2:
        return
    values: dict[str, dict[str, list[int]]] = {}
    for key in dict.fromkeys(key for place in places for key in configs[place]):
        shares: dict[str, list[int]] = {}
        for place in places:
            shares.setdefault(json.dumps(configs[place].get(key), default=str, sort_keys=True), []).append(place)
        if len(shares) > 1:
            values[key] = shares
    if not values:
        return

    def rank(key: str) -> tuple[Any, ...]:
        choice = _CHOICES.index(key) if key in _CHOICES else len(_CHOICES)
        return choice, key not in named, -len(values[key]), key.count("."), key

    best = min(values, key=rank)
    for share in values[best].values():
        for place in share:
            parts[place].append((best, configs[place].get(best)))
        _tell_apart(share, configs, named, parts)


def _short_names(keys: set[str]) -> dict[str, str]:
    """Return for each dotted key the shortest end of it that no other key has."""
    short = {}
    for key in keys:
        words = key.split(".")
        ends = (".".join(words[-length:]) for length in range(1, len(words) + 1))
        short[key] = next((end for end in ends if sum(_ends(other, end) for other in keys) == 1), key)
    return short


def _ends(key: str, end: str) -> bool:
    return key == end or key.endswith(f".{end}")


def _part(short: str, key: str, value: Any) -> str:
    return value_text(value) if key in ("method.name", "model.name", "dataset.name") else f"{short}={value_text(value)}"


def _cut(label: str) -> str:
    return " ".join(
        word if len(word) <= LONGEST else f"{word[: LONGEST // 2]}…{word[-LONGEST // 2 :]}" for word in label.split(" ")
    )


def numbered(labels: list[str]) -> list[str]:
    """Number labels that are the same, as those of two sweeps whose configs are not known."""
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        found.append(f"{label or 'run'} #{seen[label]}" if labels.count(label) > 1 or not label else label)
    return found


def value_text(value: Any) -> str:
    """Return a setting's value as a person writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{','.join(map(value_text, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
