"""Which runs are seeds of the same arm: those whose configs agree in all that determines a result but the seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlpipe.config.relevance import ARM, changes, flat
from rlpipe.config.settings import Changes
from rlpipe.core.files import Row
from rlpipe.records.runs import Run, Standing
from rlpipe.report import labels

_CONFIRMED = "confirmed "
"""What keeps the fresh seeds of a sweep's winner apart from those that it was chosen by."""


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
            key = (_CONFIRMED if run.confirms else "") + _text(config)
            configs.setdefault(key, config)
            groups.setdefault(key, []).append(run)
    groups, configs = _split_by_evaluation(groups, configs)
    chosen_from = {key: config for key, config in configs.items() if not key.startswith(_CONFIRMED)}
    distinct = labels.distinct_labels(list(chosen_from.values()), labels.named(runs))
    called = dict(zip(chosen_from, distinct, strict=True))
    called |= labels.options({key: groups[key] for key in chosen_from})
    for key in configs.keys() - chosen_from.keys():
        called[key] = f"{called.get(key.removeprefix(_CONFIRMED), 'winner')} (confirmed)"
    called |= _place_unknown([run for run in runs if not run.config], groups)
    order = {id(run): place for place, run in enumerate(runs)}
    keys = sorted(groups, key=lambda key: order[id(groups[key][0])])
    numbered = labels.numbered([called[key] for key in keys])
    return [Arm(label, *_one_a_seed(groups[key])) for key, label in zip(keys, numbered, strict=True)]


def settings(run: Run) -> Row:
    """Return what determines a run's result, as dotted keys, without seed and evaluations."""
    config = {key: value for key, value in flat(run.config).items() if changes(key, run.config) in ARM}
    same = f"seed={run.seed}"
    return {key: _without(value, same) if isinstance(value, list) else value for key, value in config.items()}


def _without(values: list[Any], override: str) -> list[Any]:
    """Leave out of a stage's overrides the seed that the run itself has."""
    return [value for value in values if value != override]


def _split_by_evaluation(
    groups: dict[str, list[Run]], configs: dict[str, Row]
) -> tuple[dict[str, list[Run]], dict[str, Row]]:
    """Take runs apart that measure in different ways, where else a seed would stand twice in an arm."""
    split: dict[str, list[Run]] = {}
    known: dict[str, Row] = {}
    for key, members in groups.items():
        seeds = [run.seed for run in members]
        for run in members:
            settings = flat({"evaluation": run.config.get("evaluation") or {}}) if len(set(seeds)) < len(seeds) else {}
            inner = key + _text(settings)
            known.setdefault(inner, configs[key] | settings)
            split.setdefault(inner, []).append(run)
    return split, known


def _place_unknown(unknown: Sequence[Run], groups: dict[str, list[Run]]) -> dict[str, str]:
    """Put arms without a config beside runs of the same sweep with the same overrides, else on their own.

    Returns the labels of the latter: their overrides, or their folder's name.
    """
    places: dict[Any, str] = {
        (run.sweep, run.confirms, _overrides(run)): key
        for key, members in groups.items()
        for run in members
        if run.sweep
    }
    called: dict[str, str] = {}
    for run in unknown:
        identity = (run.sweep, run.confirms, _overrides(run)) if run.sweep else run.dir
        key = places.setdefault(identity, f"unknown {len(places)} {run.dir}")
        if key not in groups:
            called[key] = " ".join(_shortened(one) for one in _overrides(run)) if run.sweep else run.name
        groups.setdefault(key, []).append(run)
    return called


def _shortened(override: str) -> str:
    """Return an override as labels have it."""
    key, _, value = override.partition("=")
    return value if key in ("method", "model", "dataset") else f"{key.rpartition('.')[2]}={value}"


def _overrides(run: Run) -> tuple[str, ...]:
    plain = (override.lstrip("+") for override in run.overrides)
    return tuple(sorted(one for one in plain if changes(one.partition("=")[0], run.config) in (*ARM, Changes.rows)))


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
