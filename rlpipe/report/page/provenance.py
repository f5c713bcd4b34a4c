"""What the runs stand on: code, packages, machines, data and parents; said once where they all agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from rlpipe.core.files import Row
from rlpipe.core.terminal import duration
from rlpipe.records.attempts import redivided
from rlpipe.records.runs import Run

MOST_NAMED = 6
"""Runs that are named beside a value that not all share."""


def facts(runs: Sequence[Run]) -> list[Row]:
    """Return `{name, values: [(text, whose)]}` a fact; `whose` is empty where every run agrees."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    recorded = [run for run in runs if run.manifest]
    for run in recorded:
        for name, text in _facts(run.manifest):
            found[name][text].append(run.name)
    return [{"name": name, "values": _shared(values, len(recorded))} for name, values in found.items()]


def notes(runs: Sequence[Run]) -> list[Row]:
    """Return the records' notes as `{text, whose}`, each once."""
    found: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for note in run.manifest.get("notes") or ():
            found[str(note)].append(run.name)
    return [{"text": text, "whose": _named(names, len(runs))} for text, names in found.items()]


def damage(runs: Sequence[Run]) -> list[str]:
    """Say which files had lines that could not be read, once they have been read."""
    return [
        f"{run.name}: {count} damaged {'line' if count == 1 else 'lines'} of {name} left out"
        for run in runs
        for name, count in run.damaged.items()
    ]


def table(labelled: Sequence[tuple[str, Run]]) -> list[Row]:
    """Return a row a run: where it is, how it stands, what it took."""
    return [_row(label, run) for label, run in labelled]


def _row(label: str, run: Run) -> Row:
    attempts = run.manifest.get("attempts") or []
    cost = run.cost
    seconds = cost.get("seconds")
    return {
        "label": label,
        "name": run.name,
        "dir": str(run.dir),
        "id": run.manifest.get("id", ""),
        "seed": run.seed,
        "standing": run.standing.value,
        "error": run.error or "",
        "started": str(attempts[0].get("started", ""))[:16].replace("T", " ") if attempts else "",
        "attempts": [_attempt(one) for one in attempts],
        "seconds": seconds,
        "duration": duration(seconds) if seconds is not None else "",
        "steps": cost.get("steps"),
        "tokens": cost.get("tokens"),
        "gpu_hours": cost.get("gpu_hours"),
    }


def _attempt(attempt: Row) -> str:
    spent = attempt.get("seconds")
    parts = [str(attempt.get("host", "")), attempt.get("outcome") or "going on"]
    parts += [duration(spent)] if spent is not None else []
    parts += [f"from step {attempt['resumed_from']}"] if attempt.get("resumed_from") else []
    if redivided(attempt):
        parts.append(f"{attempt['processes']} processes in place of {attempt['resumed_processes']}")
    return ", ".join(part for part in parts if part)


def _facts(manifest: Row) -> Iterator[tuple[str, str]]:
    attempt = (manifest.get("attempts") or [{}])[-1]
    code = attempt.get("code") or {}
    if code.get("commit"):
        yield "commit", code["commit"] + (" with uncommitted changes (code.diff)" if code.get("dirty") else "")
    yield "rlpipe", str(manifest.get("rlpipe", ""))
    hardware = attempt.get("hardware") or {}
    gpus = ", ".join(hardware.get("gpus") or ()) or "no GPU"
    memory = f"{hardware['memory'] / 2**30:.0f} GiB" if hardware.get("memory") else ""
    machine = [gpus, f"{hardware.get('cores', '?')} cores {hardware.get('cpu', '')}".strip(), memory]
    yield "hardware", ", ".join(part for part in machine if part)
    yield (
        "system",
        ", ".join(part for part in (hardware.get("system"), f"Python {hardware.get('python', '?')}") if part),
    )
    processes = attempt.get("processes", 1)
    if processes != 1:
        yield "processes", str(processes)
    yield "packages", ", ".join(f"{name} {version}" for name, version in (attempt.get("packages") or {}).items())
    for name, mark in (manifest.get("parents") or {}).items():
        yield "parent", f"{name} ({str(mark)[:12]})"
    for split, data in (manifest.get("data") or {}).items():
        if isinstance(data, dict):
            yield f"data, {split}", _data(data)


def _data(data: dict[str, Any]) -> str:
    dropped = ", ".join(f"{count} {why}" for why, count in (data.get("dropped") or {}).items())
    left_out = f" (left out: {dropped})" if dropped else ""
    kept = f"{data.get('kept')} of {data.get('read')} rows kept"
    return f"{data.get('source')}, {kept}{left_out}, identity {data.get('identity')}"


def _shared(values: dict[str, list[str]], runs: int) -> list[tuple[str, str]]:
    return [(text, _named(names, runs)) for text, names in values.items()]


def _named(names: Sequence[str], runs: int) -> str:
    if len(names) >= runs:
        return ""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
