"""Why a stage is not reused: what differs between it and the nearest one that is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import RecordError, advice
from rlpipe.stages.data import data
from rlpipe.stages.fingerprint import Stage, describe
from rlpipe.stages.lineage import parent_config, parent_overrides
from rlpipe.stages.stored import State, Stored, age


@dataclass(frozen=True)
class Need:
    """A stage that a run needs, and for what."""

    path: str
    """The dotted key that asks for it; of a stage's own need, after the stage's (`after: model.stage`)."""
    stage: Stage


def needs(config: RunConfig, prefix: str = "") -> Iterator[Need]:
    """Yield all that a run needs, what a stage needs before the stage; the same stage once for each key."""
    for path in parent_overrides(config):
        run = parent_config(config, path)
        yield from needs(run, f"{prefix}{path}: ")
        yield Need(prefix + path, describe(run))


def explain(config: RunConfig, stored: Sequence[Stored]) -> Iterator[str]:
    """Say of every stage that a run needs whether it is reused, and else why not, in lines to read."""
    seen: dict[str, str] = {}
    for need in needs(config):
        name = need.stage.name
        if name in seen:
            yield f"{need.path}: {name}, as for {seen[name]}"
            continue
        seen[name] = need.path
        yield from _one(need, stored)
    if not seen:
        yield "this run needs no stage"


def _one(need: Need, stored: Sequence[Stored]) -> Iterator[str]:
    stage, found = need.stage, Stored(need.stage.folder)
    head = f"{need.path}: {stage.name}"
    match found.state():
        case State.ok:
            yield f"{head} is there ({age(found.created)} old) and will be reused"
            return
        case State.damaged:
            yield f"{head} is damaged: {found.damage()}"
            yield advice(f"rlpipe stages --store {stage.folder.parent} verify --repair")
            return
        case State.building:
            yield f"{head} is being built by {found.builder}: step {found.step}; runs wait for it"
            return
        case State.failed:
            yield f"{head} has failed at its last attempt: {found.result.get('error', {}).get('message')}"
            return
        case State.unfinished:
            yield f"{head} is unfinished at step {found.step}; the next run that needs it goes on"
            return
    nearest = near(stage, stored)
    if nearest is None:
        yield f"{head} will be built; no run of method {stage.config.method.name} is stored"
        return
    other, lines = nearest
    yield f"{head} will be built; the nearest one that is stored, {other.name} ({age(other.created)} old), differs in"
    yield from (f"    {line}" for line in lines)


def near(stage: Stage, stored: Sequence[Stored]) -> tuple[Stored, list[str]] | None:
    """Return the stored stage of the same method that differs in the fewest keys, and these in words.

    Of several it is the newest. None where the method has none.
    """
    best: tuple[tuple[int, float], Stored, dict[str, tuple[Any, Any]]] | None = None
    new = flat(stage.inputs)
    for one in stored:
        inputs = _inputs(one)
        if inputs.get("config", {}).get("method", {}).get("name") != stage.config.method.name:
            continue
        old = flat(inputs)
        keys = {key: (old.get(key), new.get(key)) for key in sorted(old | new) if old.get(key) != new.get(key)}
        rank = (len(keys), -(one.created or 0.0))
        if best is None or rank < best[0]:
            best = rank, one, keys
    return (best[1], [_line(stage, best[1], key, *values) for key, values in best[2].items()]) if best else None


def flat(inputs: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return what a fingerprint was made from under dotted keys; those of the config as the command line has them."""
    found: dict[str, Any] = {}
    for key, value in inputs.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, "" if (prefix, key) == ("", "config") else f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _inputs(stored: Stored) -> dict[str, Any]:
    try:
        found: dict[str, Any] = stored.manifest.get("fingerprint_inputs", {})
    except RecordError:
        return {}
    return found


def _line(stage: Stage, other: Stored, key: str, old: Any, new: Any) -> str:
    kind, _, name = key.partition(".")
    if kind == "versions":
        return f"package {name}: {old} → {new}"
    if key == "data":
        return f"the train rows: {_rows(stage, other)}"
    if key == "model":
        return f"the model that it starts from: {_short(old)} → {_short(new)}"
    if kind == "others":
        return f"what {name} makes: {_short(old)} → {_short(new)}"
    return f"{key}: {old} → {new}"


def _rows(stage: Stage, other: Stored) -> str:
    """Name both stages' rows by their number and the beginning of their hash."""
    train = other.manifest.get("data", {}).get("train", {})
    before = f"{train.get('kept', '?')} ({_short(_inputs(other)['data'])})"
    if "dataset.stage" in parent_overrides(stage.config):
        return f"{before} → made by another run ({_short(stage.inputs['data'])})"
    return f"{before} → {data(stage.config).rows} ({_short(stage.inputs['data'])})"


def _short(value: Any) -> str:
    text = str(value)
    if text.startswith("{"):
        return f"the files of a folder ({hashlib.sha256(text.encode()).hexdigest()[:12]})"
    return text if len(text) <= 40 and not text.isalnum() else text[:12]
