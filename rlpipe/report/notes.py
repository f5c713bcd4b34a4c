"""What a reader must know before believing a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rlpipe.records.attempts import redivided
from rlpipe.records.runs import Run, Standing
from rlpipe.report.arms import Arm
from rlpipe.report.comparison import EvaluationComparison

MOST_NAMES = 5
MOST_BYTES = 2**30
"""Of a larger model only the files' names are compared here: `rlpipe reproduce` reads all of it."""


def notes(arms: Sequence[Arm], evaluations: Sequence[EvaluationComparison]) -> list[str]:
    """Say which runs are not what they seem: unfinished, repeated, damaged, of unlike tools or code."""
    runs = [run for arm in arms for run in arm.runs]
    found = _unfinished(runs)
    repeated = [run for arm in arms for run in arm.repeated]
    if repeated:
        found.append(f"{_names(repeated)}: of the same arm and seed as another run, which counts instead")
    for run in runs:
        for name, lines in run.damaged.items():
            found.append(f"{run.name}: {lines} damaged {'line' if lines == 1 else 'lines'} of {name} skipped")
        found += [f"{run.name}: {words}" for words in _altered(run)]
    found += _tools(arms) + _code(runs) + _processes(runs)
    if not evaluations:
        found.append("no run has results to compare (yet)")
    return found


def _unfinished(runs: Sequence[Run]) -> list[str]:
    counts = Counter(run.standing for run in runs)
    states = {
        Standing.running: "still going: its numbers may change",
        Standing.stopped: "stopped before the end",
        Standing.pruned: "pruned at a rung before the end, and not compared",
        Standing.killed: "killed before the end",
        Standing.failed: "failed",
        Standing.damaged: "cannot be read",
        Standing.missing: "not begun",
    }
    return [
        f"{_names([run for run in runs if run.standing is standing])}: {words}"
        for standing, words in states.items()
        if counts[standing]
    ]


def _altered(run: Run) -> Iterator[str]:
    """Say which of a run's files are not as they were written."""
    if run.standing is Standing.running:
        return
    model = run.dir / "model"
    large = sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) > MOST_BYTES
    for flaw in (*run.flaws(content=not large), *(run.flaws("evaluations/") if large else ())):
        yield f"{flaw}; left out" if flaw.file.endswith((".before.jsonl", ".after.jsonl")) else str(flaw)


def _tools(arms: Sequence[Arm]) -> list[str]:
    """Say where arms may call different tools: they are compared all the same (`pairing`)."""
    users: dict[str, list[str]] = {}
    for arm in arms:
        for run in [run for run in arm.runs if run.config][:1]:
            users.setdefault(", ".join(run.config.get("tool") or {}) or "no tool", []).append(arm.label)
    lines = (f"{tools}: {_some(labels)}" for tools, labels in users.items())
    return [f"tools belong to what is compared: {'; '.join(lines)}"] if len(users) > 1 else []


def _code(runs: Sequence[Run]) -> list[str]:
    """Say when runs were made by different code, or by code that no commit holds."""
    states = [attempt.get("code") or {} for run in runs for attempt in run.manifest.get("attempts", [])]
    states = [state for state in states if state.get("commit")]
    commits = sorted({str(state["commit"])[:10] for state in states})
    versions = [f"the runs were made by {len(commits)} versions of the code ({', '.join(commits[:MOST_NAMES])})"]
    changed = "some runs were made with uncommitted changes (code.diff in their folders)"
    return (versions if len(commits) > 1 else []) + ([changed] if any(state.get("dirty") for state in states) else [])


def _processes(runs: Sequence[Run]) -> list[str]:
    """Say which runs went on with another number of processes: repeating them gives the same but for rounding."""
    found = [run for run in runs if any(map(redivided, run.manifest.get("attempts", ())))]
    what = "went on with another number of processes, so that sums are taken in another order from there on"
    return [f"{_names(found)}: {what}"] if found else []


def _names(runs: Sequence[Run]) -> str:
    return _some([run.name for run in runs])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
