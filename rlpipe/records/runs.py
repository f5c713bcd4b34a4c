"""Finding runs on the disk and reading them as they are: finished, failed, still going, or damaged.

Reading is tolerant where a record is not of our making any more: a damaged line is skipped and
counted, rows that are not as they were written are left out and named, a run that never began is `missing`. Only what
is asked for is read, and nothing large is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from rlpipe.core.errors import Problem, RecordError
from rlpipe.core.files import Row, parse_lines
from rlpipe.core.shapes import misfit
from rlpipe.records import history, lease, manifest, seals
from rlpipe.records.record import When, read_result
from rlpipe.records.sweep import SWEEP_FILE, Ended, read_outcome, read_sweep

_WHENS: tuple[When, ...] = ("before", "after")
_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Standing(Enum):
    """How a run stands."""

    ok = "ok"
    failed = "failed"
    stopped = "stopped"
    """Asked to stop; it has saved and can go on."""
    pruned = "pruned"
    """An arm that did not go on at a rung of its sweep: it is not compared."""
    running = "running"
    killed = "killed"
    """It has no result, and its process is gone."""
    missing = "missing"
    """An arm of a sweep that has not begun, or that was cancelled before."""
    damaged = "damaged"
    """Its manifest or its result cannot be read."""


@dataclass(eq=False)
class Run:
    """One run's directory, or the place where an arm's will be."""

    dir: Path
    standing: Standing
    manifest: Row = field(default_factory=dict)
    config: Row = field(default_factory=dict)
    """The resolved config in plain types; empty where an arm has left nothing yet."""
    overrides: list[str] = field(default_factory=list)
    result: Row = field(default_factory=dict)
    """What result.json holds; empty while there is none."""
    error: str | None = None
    """Why it failed, in a line."""
    sweep: Path | None = None
    """The folder of the sweep that it is an arm of."""
    confirms: bool = False
    """Whether it is a fresh seed of the setting that won the sweep."""
    damaged: dict[str, int] = field(default_factory=dict)
    """Lines that could not be read, by file; filled as files are read."""

    @property
    def name(self) -> str:
        """The folder's name; with the one above it where it is only a number."""
        return f"{self.dir.parent.name}/{self.dir.name}" if self.dir.name.isdigit() else self.dir.name

    @property
    def id(self) -> str:
        """The run's identity over all its attempts; the folder for one without a manifest."""
        return str(self.manifest.get("id") or self.dir)

    @property
    def seed(self) -> int | None:
        """The run's seed, None where it is not known."""
        seed = self.config.get("seed")
        return seed if seed is not None else _seed_of(self.overrides)

    @property
    def summary(self) -> dict[str, float | None]:
        """The numbers that the run ended with; None for one that was no number."""
        return dict(self.result.get("metrics", {}))

    @property
    def cost(self) -> dict[str, float]:
        """What all attempts took: `seconds`; `gpu_hours`, `steps`, `tokens`, `peak_memory` (bytes) where known."""
        spent = dict(self.result.get("cost", {}))
        if self.config.get("hardware", {}).get("device") == "cpu":
            return spent
        hours = sum(_gpu_seconds(attempt) for attempt in self.manifest.get("attempts", [])) / 3600
        return spent | ({"gpu_hours": round(hours, 4)} if hours else {})

    def metrics(self) -> list[Row]:
        """Read metrics.jsonl: a row `{step, time, …}` a log step. A number that was NaN is None. Not kept."""
        return self._steps("metrics.jsonl")

    def samples(self) -> list[Row]:
        """Read samples.jsonl: texts to read, each with its `step`. Not kept."""
        return self._steps("samples.jsonl")

    @cached_property
    def evaluations(self) -> dict[str, tuple[When, ...]]:
        """Which evaluations have rows that are as they were written, and of when."""
        found: dict[str, tuple[When, ...]] = {}
        altered = {flaw.file for flaw in self.flaws("evaluations/")}
        for when in _WHENS:
            for path in sorted((self.dir / "evaluations").glob(f"*.{when}.jsonl")):
                if path.relative_to(self.dir).as_posix() not in altered:
                    name = path.name.removesuffix(f".{when}.jsonl")
                    found[name] = (*found.get(name, ()), when)
        return found

    def evaluation(self, name: str, when: When) -> list[Row]:
        """Read an evaluation's rows, one an example; none where it has not been done. Not kept."""
        return self._lines(self.dir / "evaluations" / f"{name}.{when}.jsonl")

    def flaws(self, within: str = "", content: bool = True) -> list[seals.Flaw]:
        """Return what of the run's files is not as it was written (see `seals.flaws`). Not kept."""
        return list(seals.flaws(self.dir, self.manifest, content, within))

    def final(self, name: str) -> When | None:
        """Return which rows tell of the run's result: those after training; where nothing is trained, the only ones.

        None where they are not there (yet).
        """
        there = self.evaluations.get(name, ())
        if "after" in there:
            return "after"
        trains_nothing = self.result.get("stage") == "evaluate" and "steps" not in self.result.get("cost", {})
        return "before" if "before" in there and trains_nothing else None

    def protocol(self, name: str) -> Row | None:
        """Read what an evaluation's rows depend on beside the model; None where the run has not said."""
        return self.read(f"evaluations/{name}.protocol.json")

    def read(self, name: str) -> Row | None:
        """Read a JSON file of the folder (`audit.json`); None where there is none, or where it is damaged (counted)."""
        try:
            value = json.loads((self.dir / name).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            self.damaged[name] = 1
            return None
        return value if isinstance(value, dict) else {"value": value}

    def _lines(self, path: Path) -> list[Row]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RecordError(path, f"cannot be read ({error.strerror})", "check its rights") from error
        rows, damaged = parse_lines(data, still_going=self.standing is Standing.running)
        self._count(path.name if path.parent == self.dir else f"{path.parent.name}/{path.name}", damaged)
        return rows

    def _steps(self, name: str) -> list[Row]:
        rows = self._lines(self.dir / name)
        kept = [row for row in rows if misfit(row, history.ROW) is None]
        self._count(name, self.damaged.get(name, 0) + len(rows) - len(kept))
        return kept

    def _count(self, name: str, damaged: int) -> None:
        if damaged:
            self.damaged[name] = damaged


NAME_ONE = "name a run's directory, a sweep's, or a folder above them"


def find(paths: Iterable[Path | str]) -> list[Run]:
    """Return the runs of folders: run directories, sweeps with their arms, or any folder above them.

    In the order given, inside a folder by name, an arm before the next by number; none twice. Raises RecordError for
    all folders at once that are not there or hold no run.
    """
    runs: dict[Path, Run] = {}
    wrong: list[Problem] = []
    for path in paths:
        folder = Path(path).expanduser()
        found = list(_below(folder.resolve())) if folder.is_dir() else []
        if not found:
            wrong.append(_no_run(folder))
        for run in found:
            known = runs.setdefault(run.dir, run)
            known.sweep = known.sweep or run.sweep
    if wrong:
        first, *more = wrong
        if more:
            raise RecordError("", "\n".join(map(str, wrong)), "")
        raise RecordError(first.where, first.what, first.fix)
    return list(runs.values())


def _no_run(folder: Path) -> Problem:
    if not folder.exists():
        return Problem(str(folder), "there is no such folder", NAME_ONE)
    if not folder.is_dir():
        return Problem(str(folder), "a file", "name the run's directory that it is in")
    inside = next((outer for outer in folder.resolve().parents if manifest.is_run(outer)), None)
    fix = f"it lies inside one: {inside}" if inside else NAME_ONE
    return Problem(str(folder), "holds no run (no manifest.json, in no folder below it either)", fix)


def _below(folder: Path) -> Iterator[Run]:
    """Yield the runs of a folder and of those below it; a run's own folders are not looked into."""
    if manifest.is_run(folder):
        yield _run(folder)
        return
    if (folder / SWEEP_FILE).is_file():
        yield from _arms(folder)
    with os.scandir(folder) as entries:
        inner = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    for name in sorted(inner, key=lambda name: (int(name) if name.isdigit() else -1, name)):
        yield from _below(folder / name)


def _arms(sweep: Path) -> Iterator[Run]:
    """Yield the arms that a sweep's file names, also those that have not begun."""
    for arm in sorted((read_sweep(sweep) or {}).get("arms", []), key=lambda arm: arm["num"]):
        folder = (sweep / arm["folder"]).resolve()
        if manifest.is_run(folder):
            run = _run(folder)
            run.sweep = sweep
        else:
            run = _missing(folder, sweep, [str(override) for override in arm["overrides"]], str(arm["num"]))
        run.confirms = arm.get("confirms", False)
        yield run


def _missing(folder: Path, sweep: Path, overrides: list[str], number: str) -> Run:
    """Return an arm without a record: its config where it was frozen, and what the launcher knows of it."""
    run = Run(folder, Standing.missing, overrides=overrides, sweep=sweep)
    frozen = folder / "config.yaml"
    if frozen.is_file():
        run.config = _frozen(frozen)
    try:
        outcome = read_outcome(sweep / ".launch" / number)
    except RecordError as error:
        run.standing, run.error = Standing.damaged, error.headline
        return run
    if outcome is not None and outcome.ended is Ended.ok:
        run.error = "it has run, and its folder is gone"
    elif outcome is not None and outcome.ended is Ended.failed:
        run.standing, run.error = Standing.failed, _in_one_line(outcome.error or "it left no word")
    elif outcome is not None and outcome.ended is Ended.cancelled:
        run.error = f"cancelled: {_in_one_line(outcome.error)}" if outcome.error else "cancelled"
    return run


def _frozen(file: Path) -> Row:
    """Return an arm's frozen config; empty where the file is damaged, for the arm's overrides still name it."""
    try:
        config = yaml.load(file.read_bytes(), Loader=_YAML)
    except (ValueError, yaml.YAMLError):
        return {}
    return config if misfit(config, manifest.CONFIG) is None else {}


def _run(folder: Path) -> Run:
    run = Run(folder, Standing.damaged)
    try:
        run.manifest = manifest.read(folder) or {}
        run.config, run.overrides = run.manifest["config"], run.manifest["overrides"]
        run.result = read_result(folder) or {}
        run.standing = _standing(folder, run.result.get("status"))
        run.error = _error(run.result.get("error"))
        if run.standing is Standing.pruned:
            run.error = run.manifest.get("pruned")
    except RecordError as error:
        run.error = error.headline
    return run


def _error(error: Mapping[str, Any] | None) -> str | None:
    """Return what failed, then what to do about it."""
    if not error:
        return None
    what = f"{error['type']}: {error['message'].partition(chr(10))[0]}"
    return f"{what} → {_in_one_line(error['fix'])}" if error.get("fix") else what


def _in_one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.strip().splitlines())


def _standing(folder: Path, status: str | None) -> Standing:
    if status is None:
        return Standing.running if lease.holder(folder) is not None else Standing.killed
    return Standing.stopped if status == Ended.cancelled.value else Standing(status)


def _seed_of(overrides: Sequence[str]) -> int | None:
    for override in reversed(overrides):
        key, _, value = override.partition("=")
        if key.lstrip("+") == "seed" and value.strip().lstrip("-").isdigit():
            return int(value)
    return None


def _gpu_seconds(attempt: Mapping[str, Any]) -> float:
    """Return an attempt's seconds times the GPUs that it used: one a process, where the machine has any."""
    gpus = attempt.get("hardware", {}).get("gpus", [])
    return float(attempt.get("seconds", 0.0)) * attempt.get("processes", 1) if gpus else 0.0
