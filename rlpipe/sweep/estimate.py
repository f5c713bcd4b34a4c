"""What a run will take, before it is started: steps, memory, time. Estimates, each with its basis.

Time comes from finished runs of the same method and model on the same kind of device, where the store or earlier
sweeps hold one: its seconds a step, and what it took beside its steps. Else it is counted: a training step takes about
6·P floating-point operations a token (Kaplan et al., arXiv:2001.08361), 2·P more for a reference model, and 2·P for
each token that is sampled.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.config.compose import to_plain
from rlpipe.config.relevance import timed
from rlpipe.config.schema import RunConfig, Until
from rlpipe.core.errors import RecordError
from rlpipe.core.files import first_row, json_text, last_row
from rlpipe.core.shapes import misfit
from rlpipe.datasets.forms import Preference
from rlpipe.methods.online import OnlineConfig
from rlpipe.models.memory import Memory
from rlpipe.records import manifest
from rlpipe.records.history import ROW
from rlpipe.records.record import read_result
from rlpipe.run.check import capacity
from rlpipe.run.check.subject import Subject

OPERATIONS = {"cpu": 2e10, "gpu": 1e14}
"""Floating-point operations a second that count as reached: one core of a processor, and a GPU of the A100's kind
at a third of what its data sheet says for bfloat16."""

LOOKED_AT = 300
"""How many earlier runs are looked at, for the search must stay short."""


@dataclass(frozen=True)
class Time:
    """Estimated seconds of a run's training, and where the number comes from."""

    seconds: float
    basis: str
    bound: bool = False
    """Whether it is the most that it can be expected to take, for rows may be shorter than they are counted."""


@dataclass(frozen=True)
class Pace:
    """How long an earlier run took."""

    step: float
    """Seconds of one optimiser step."""
    rest: float
    """Seconds of all else: loading, evaluating, writing."""


def steps(subject: Subject) -> int | None:
    """Return the optimiser steps of a run; None where its rows are not there yet. Rows that are too long still count.

    Raises DataError for rows that cannot be read.
    """
    from rlpipe.stages import identity
    from rlpipe.stages.lineage import parent_overrides

    config, method = subject.config, subject.config.method
    if not subject.trains or config.until is Until.build:
        return 0
    if method.max_steps is not None:
        return method.max_steps
    if "dataset.stage" in parent_overrides(config):
        return None
    rows = identity.data(config).rows
    if isinstance(method, OnlineConfig):
        return int(method.epochs * (rows // method.prompts_per_batch * method.steps_per_batch))
    return int(method.epochs * (rows // method.batch_size))


def memory(subject: Subject) -> Memory | None:
    """Return the estimated bytes of a training step; None where the model's size is not known or nothing is trained."""
    return capacity.needed(subject)


def time(subject: Subject, count: int | None, earlier: Mapping[str, Pace], gpu: bool) -> Time | None:
    """Return how long `count` steps of a run may take; None where too little is known. `earlier` is `pace`'s."""
    if count is None:
        return None
    config = subject.config
    key = like(config, gpu)
    if key in earlier:
        return Time(count * earlier[key].step + earlier[key].rest, "earlier runs of the same method and model")
    if subject.parameters is None or subject.method is None:
        return None
    needed = 6 + (2 if getattr(subject.method, "needs_reference_model", False) else 0)
    pairs = 2 if Preference in subject.method.takes else 1
    tokens: float = config.method.batch_size * pairs * config.method.max_length
    sampled = (
        config.method.batch_size * config.method.sampling.max_tokens if isinstance(config.method, OnlineConfig) else 0
    )
    speed = OPERATIONS["gpu"] if gpu else OPERATIONS["cpu"] * max(1, config.hardware.threads)
    operations = subject.parameters * (needed * tokens + 2 * sampled)
    what = "a GPU at 1e14" if gpu else f"{max(1, config.hardware.threads)} core at 2e10"
    return Time(count * operations / speed, f"counted for full-length rows on {what} operations a second", bound=True)


def like(config: RunConfig | Mapping[str, Any], gpu: bool) -> str:
    """Return what two runs must have in common for one's pace to tell of the other's."""
    plain = dict(config) if isinstance(config, Mapping) else to_plain(config)
    return json_text([timed(plain), "gpu" if gpu else "cpu"])


def pace(store: Path, sweeps: Path) -> dict[str, Pace]:
    """Return the pace of finished stages and arms, by `like`; of several the newest counts."""
    found: dict[str, Pace] = {}
    manifests = [*store.glob(f"*/{manifest.FILE}"), *sweeps.glob(f"*/*/*/{manifest.FILE}")]
    newest = sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in itertools.islice(newest, LOOKED_AT):
        try:
            record, cost = manifest.read(path.parent), (read_result(path.parent) or {}).get("cost") or {}
            if record is None or not cost.get("steps") or not cost.get("seconds"):
                continue
            gpu = bool(record["attempts"][-1]["hardware"].get("gpus"))
            config = record["config"]
            if config["method"]["name"]:
                found.setdefault(like(config, gpu), _pace(path.with_name("metrics.jsonl"), cost))
        except (RecordError, KeyError, IndexError):
            continue  # another run's damaged or older record is no reason to stop this one
    return found


def _pace(metrics: Path, cost: Mapping[str, float]) -> Pace:
    """Return a run's pace between its first and last logged step, where it logged two."""
    first, last = first_row(metrics), last_row(metrics)
    step = cost["seconds"] / cost["steps"]
    whole = [row for row in (first, last) if row is not None and misfit(row, ROW) is None and "time" in row]
    if len(whole) == 2 and whole[1]["step"] > whole[0]["step"]:
        # An interrupted run's waiting lies between its steps too.
        seconds, steps = (whole[1][name] - whole[0][name] for name in ("time", "step"))
        step = min(step, seconds / steps)
    return Pace(step, cost["seconds"] - step * cost["steps"])
