"""Which runs are seeds of the same arm, and what to call the arm.

Runs are of one arm when their configs agree in all that determines a result but the seed. An arm is
called by the fields in which it differs from the others, as few and as short as tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlpipe import plugins
from rlpipe.records.files import Row
from rlpipe.records.ownership import NOT_RESULT, flat
from rlpipe.report.runs import Run, Standing

NOT_ARM = (*NOT_RESULT, "seed", "hardware", "model.parameters", "model.context", "dataset.test_limit")
"""Dotted keys that make no arm of their own. What runs measure (`evaluation`) does only where seeds repeat."""

LONGEST = 48
"""Characters of a value in a label; longer ones are cut where they stay different."""

_CHOICES = ("method.name", "model.name", "dataset.name", "after")
"""Fields that tell arms apart best."""


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but their seed."""

    label: str
    runs: tuple[Run, ...]
    """One a seed, those without a record too."""
    repeated: tuple[Run, ...] = ()
    """Further runs of seeds that the arm has already: the better or newer one stands in `runs`."""


def group(runs: Sequence[Run]) -> list[Arm]:
    """Return the arms of runs in the order in which they first appear."""
    groups: dict[str, list[Run]] = {}
    configs: dict[str, Row] = {}
    for run in runs:
        if run.config:
            config = settings(run)
            key = _text(config)
            configs.setdefault(key, config)
            groups.setdefault(key, []).append(run)
    groups, configs = _split_by_evaluation(groups, configs)
    labels = dict(zip(configs, _labels(list(configs.values()), _named(runs)), strict=True))
    labels |= _place_unknown([run for run in runs if not run.config], groups)
    order = {id(run): place for place, run in enumerate(runs)}
    keys = sorted(groups, key=lambda key: order[id(groups[key][0])])
    distinct = _numbered([labels[key] for key in keys])
    return [Arm(label, *_one_a_seed(groups[key])) for key, label in zip(keys, distinct, strict=True)]


def settings(run: Run) -> Row:
    """Return what determines a run's result, as dotted keys, without seed and evaluations."""
    config = {key: value for key, value in flat(run.config).items() if not _under(key, (*NOT_ARM, "evaluation"))}
    for key in _without_effect(run.config):
        config.pop(key, None)
    same = f"seed={run.seed}"
    return {key: _without(value, same) if isinstance(value, list) else value for key, value in config.items()}


def _without(values: list[Any], override: str) -> list[Any]:
    """Leave out of a stage's overrides the seed that the run itself has."""
    return [value for value in values if value != override]


def _under(key: str, outer: Sequence[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in outer)


def _without_effect(config: Mapping[str, Any]) -> list[str]:
    """Return the settings of a method and of rewards that their plugins say change nothing."""
    method = config.get("method", {})
    nodes = [("method", "method", method)]
    nodes += [("reward", f"reward.{name}", node) for name, node in (config.get("reward") or {}).items()]
    found = []
    for kind, path, node in nodes:
        plugin = plugins.table()[kind].get(str(node.get("name")))
        if plugin is not None and plugin.cls is not None:
            found += [f"{path}.{key}" for key in plugin.cls.irrelevant]
    return found


def _split_by_evaluation(
    groups: dict[str, list[Run]], configs: dict[str, Row]
) -> tuple[dict[str, list[Run]], dict[str, Row]]:
    """Take runs apart that measure in different ways, where else a seed would stand twice in an arm."""
    split: dict[str, list[Run]] = {}
    known: dict[str, Row] = {}
    for key, members in groups.items():
        seeds = [run.seed for run in members]
        for run in members:
            own = flat({"evaluation": run.config.get("evaluation") or {}}) if len(set(seeds)) < len(seeds) else {}
            inner = key + _text(own)
            known.setdefault(inner, configs[key] | own)
            split.setdefault(inner, []).append(run)
    return split, known


def _place_unknown(unknown: Sequence[Run], groups: dict[str, list[Run]]) -> dict[str, str]:
    """Put arms without a config beside runs of the same sweep with the same overrides, else on their own.

    Returns the labels of the latter: their overrides, or their folder's name.
    """
    places: dict[Any, str] = {
        (run.sweep, _overrides(run)): key for key, members in groups.items() for run in members if run.sweep
    }
    labels: dict[str, str] = {}
    for run in unknown:
        own = (run.sweep, _overrides(run)) if run.sweep else run.dir
        key = places.setdefault(own, f"unknown {len(places)} {run.dir}")
        if key not in groups:
            labels[key] = " ".join(_shortened(one) for one in _overrides(run)) if run.sweep else run.name
        groups.setdefault(key, []).append(run)
    return labels


def _shortened(override: str) -> str:
    """Return an override as labels have it."""
    key, _, value = override.partition("=")
    return value if key in ("method", "model", "dataset") else f"{key.rpartition('.')[2]}={value}"


def _overrides(run: Run) -> tuple[str, ...]:
    plain = (override.lstrip("+") for override in run.overrides)
    return tuple(sorted(one for one in plain if not _under(one.partition("=")[0], NOT_ARM)))


def _named(runs: Sequence[Run]) -> set[str]:
    """Return the keys that the runs' command lines name; a group's own name stands for its option."""
    keys = {override.lstrip("+~").partition("=")[0] for run in runs for override in run.overrides}
    return keys | {f"{key}.name" for key in keys & set(plugins.KINDS)}


def _one_a_seed(runs: Sequence[Run]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """Return the runs that count and those that repeat them: of one seed a finished run counts, then the newest."""
    best: dict[Any, Run] = {}
    for run in runs:
        seed = run.seed if run.seed is not None else run.dir
        known = best.get(seed)
        if known is None or _rank(run) > _rank(known):
            best[seed] = run
    chosen = sorted(best.values(), key=lambda run: (run.seed is None, run.seed or 0))
    return tuple(chosen), tuple(run for run in runs if not any(run is one for one in chosen))


def _rank(run: Run) -> tuple[bool, bool, str]:
    going = run.standing in (Standing.running, Standing.stopped)
    return run.standing is Standing.ok, going, str(run.manifest.get("created", ""))


def _text(config: Row) -> str:
    return json.dumps(config, sort_keys=True, default=str)


# -- labels


def _labels(configs: Sequence[Row], named: set[str]) -> list[str]:
    """Return a short text for each config, no two the same."""
    if len(configs) == 1:
        return [said(configs[0].get("method.name", "run"))]
    parts: list[list[tuple[str, Any]]] = [[] for _ in configs]
    _tell_apart(list(range(len(configs))), configs, named, parts)
    short = _short_names({key for own in parts for key, _ in own})
    labels = [" ".join(_part(short[key], key, value) for key, value in own) for own in parts]
    shortened = [_cut(label) for label in labels]
    return shortened if len(set(shortened)) == len(set(labels)) else labels


def _tell_apart(places: list[int], configs: Sequence[Row], named: set[str], parts: list[list[tuple[str, Any]]]) -> None:
    """Split configs by the field that says most, and each share by the next, until every config is alone."""
    if len(places) < 2:
        return
    values: dict[str, dict[str, list[int]]] = {}
    for key in dict.fromkeys(key for place in places for key in configs[place]):
        shares: dict[str, list[int]] = {}
        for place in places:
            shares.setdefault(_text({"": configs[place].get(key)}), []).append(place)
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
    return said(value) if key in ("method.name", "model.name", "dataset.name") else f"{short}={said(value)}"


def _cut(label: str) -> str:
    return " ".join(
        word if len(word) <= LONGEST else f"{word[: LONGEST // 2]}…{word[-LONGEST // 2 :]}" for word in label.split(" ")
    )


def _numbered(labels: list[str]) -> list[str]:
    """Number labels that are the same, as those of two sweeps whose configs are not known."""
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        found.append(f"{label or 'run'} #{seen[label]}" if labels.count(label) > 1 or not label else label)
    return found


def said(value: Any) -> str:
    """Return a setting's value as a person writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{','.join(map(said, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
