"""What became of each job of a sweep, put together from its outcome, its run's record and the launcher's view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rlpipe.core.errors import RecordError, advice
from rlpipe.core.files import Row, last_row
from rlpipe.core.shapes import misfit
from rlpipe.core.terminal import is_number
from rlpipe.launchers.base import JobStatus, Phase
from rlpipe.records import manifest, seals
from rlpipe.records.history import ROW
from rlpipe.records.record import read_result
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep


class State(Enum):
    """Where a job stands."""

    unsubmitted = "not submitted"
    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    stopped = "stopped"
    pruned = "pruned"
    """It did not go on at a rung of the sweep; `resume --pruned` extends it."""
    cancelled = "cancelled"
    gone = "gone"
    """It was done, and what it left is not there any more."""

    @property
    def over(self) -> bool:
        """Whether nothing more comes by itself."""
        return self not in (State.queued, State.running)


RESUMABLE = (State.unsubmitted, State.failed, State.stopped, State.cancelled, State.gone)
"""What `resume` submits again; with `--pruned` pruned arms too."""


@dataclass(frozen=True)
class Standing:
    """How one job stands."""

    job: Job
    state: State
    detail: str = ""
    """Why it waits, how it failed (the error in a line), how it stood where it was pruned, or why it was cancelled."""
    hopeless: bool = False
    """It waits for what will never come."""
    step: int | None = None
    metric: tuple[str, float] | None = None
    """The number that is worth showing, and its name."""
    seconds: float | None = None
    """What the run cost so far."""
    place: str = ""
    job_id: str = ""
    attempts: int = 0


def standings(sweep: Sweep, statuses: Mapping[str, JobStatus]) -> list[Standing]:
    """Return how every job of a sweep stands, in the sweep's order."""
    submitted = _submitted(sweep)
    return [_standing(sweep, job, statuses.get(job.key), submitted.get(job.key)) for job in sweep.jobs]


def resumable(sweep: Sweep, now: Sequence[Standing], chosen: Sequence[Standing], pruned: bool = False) -> list[Job]:
    """Return which of the chosen jobs are to be run again, with the stages that they need.

    With `pruned` also arms that a rung has ended, which no rung ends any more from now on.
    """
    again = {one.job.key for one in chosen if one.state in RESUMABLE}
    for one in chosen:
        if pruned and one.state is State.pruned:
            sweep.extend(one.job)
            again.add(one.job.key)
    needed = {key for one in chosen if one.job.key in again for key in one.job.needs}
    again |= {one.job.key for one in now if one.job.key in needed and one.state in RESUMABLE}
    return [job for job in sweep.jobs if job.key in again]


def _submitted(sweep: Sweep) -> dict[str, float]:
    """Return when each job was last handed over."""
    return {key: row["time"] for row in sweep.submissions for key in row["keys"]}


def _standing(sweep: Sweep, job: Job, seen: JobStatus | None, submitted: float | None) -> Standing:
    outcome, damaged = _outcome(sweep, job)
    state, detail = _state(outcome, seen, submitted)
    run_dir = Path(job.run_dir)
    if damaged is not None and state.over:
        state, detail = State.failed, damaged
    result, lost = _result(run_dir) if state.over else (None, None)
    if state is State.done and sweep.is_ours and job.kind is Kind.arm and (lost := lost or _lacking(run_dir, result)):
        state, detail = State.gone, lost
    step, metric = _progress(run_dir, sweep.data.get("objective")) if state is not State.unsubmitted else (None, None)
    if result is not None and state is State.done:
        metric = headline(result.get("metrics", {}), sweep.data.get("objective")) or metric
        step = result.get("cost", {}).get("steps", step)  # its last steps may not have been logged
    return Standing(
        job,
        state,
        detail,
        hopeless=seen is not None and seen.hopeless and state is State.queued,
        step=step,
        metric=metric,
        seconds=(result or {}).get("cost", {}).get("seconds"),
        place=_place(seen, outcome) if state in (State.running, State.failed) else "",
        job_id=(seen and seen.job_id) or (outcome and outcome.job_id) or "",
        attempts=outcome.attempt if outcome else 0,
    )


def _outcome(sweep: Sweep, job: Job) -> tuple[Outcome | None, str | None]:
    """Return what a job says of its newest attempt, or what is wrong with the file that says it."""
    try:
        return sweep.outcome(job), None
    except RecordError as error:
        return None, f"{error.headline}\n{advice(error.fix)}"


def _result(run_dir: Path) -> tuple[Row | None, str | None]:
    """Return a run's result, or what is wrong with it."""
    try:
        return read_result(run_dir), None
    except RecordError as error:
        return None, f"{error.headline}\n{advice(error.fix)}"


def _lacking(run_dir: Path, result: Row | None) -> str | None:
    """Say what a run that is done has lost since; None where all is there. Contents are not read."""
    if not run_dir.is_dir():
        return "its folder is gone"
    if result is None:
        return "its result.json is gone"
    try:
        recorded = manifest.read(run_dir)
    except RecordError as error:
        return f"{error.headline}\n{advice(error.fix)}"
    if recorded is None:
        return f"its {manifest.FILE} is gone"
    gone = [flaw.file for flaw in seals.flaws(run_dir, recorded, content=False) if flaw.gone]
    return f"{gone[0]}{f' and {len(gone) - 1} more' if len(gone) > 1 else ''} is gone" if gone else None


def _state(outcome: Outcome | None, seen: JobStatus | None, submitted: float | None) -> tuple[State, str]:
    """Return a job's state and what there is to say of it.

    An outcome that is older than the newest submission tells of an earlier attempt.
    """
    alive = seen is not None and seen.phase is not Phase.gone
    if outcome is not None and submitted is not None and outcome.time < submitted and alive:
        outcome = None
    if outcome is not None and outcome.ended in _FINAL:
        return _FINAL[outcome.ended], outcome.error or ""
    if seen is None:
        return (State.unsubmitted, "") if outcome is None else (State.stopped, _asleep(outcome))
    if seen.phase is Phase.queued:
        return State.queued, seen.reason or ""
    if seen.phase is Phase.running:
        return State.running, seen.reason or ""
    if outcome is not None and outcome.ended is Ended.stopped:
        return State.stopped, _asleep(outcome)
    return State.failed, seen.reason or "it is gone and left no word"


_FINAL = {
    Ended.ok: State.done,
    Ended.failed: State.failed,
    Ended.pruned: State.pruned,
    Ended.cancelled: State.cancelled,
}


def _asleep(outcome: Outcome) -> str:
    return outcome.error or ("stopped and saved" if outcome.ended is Ended.stopped else "its process is gone")


def _place(seen: JobStatus | None, outcome: Outcome | None) -> str:
    return (seen and seen.place) or (outcome and outcome.host) or ""


def _progress(run_dir: Path, objective: str | None) -> tuple[int | None, tuple[str, float] | None]:
    """Return the last step that a run logged, and the number of that row that is worth showing."""
    row = last_row(run_dir / "metrics.jsonl")
    if row is None or misfit(row, ROW) is not None:
        return None, None
    for name in (objective, "reward", "loss"):
        if name is not None and is_number(row.get(name)):
            return row["step"], (name, row[name])
    return row["step"], None


def headline(metrics: Mapping[str, Any], objective: str | None) -> tuple[str, float] | None:
    """Return the one number of a finished run to show in a list: the objective, else its first accuracy or score.

    A run that trains nothing (`method=none`) has only numbers from before.
    """
    named = [objective] if objective else []
    after = [name for name in metrics if name.startswith("after/")] or list(metrics)
    likely = [name for name in after if name.rpartition("/")[2] in ("accuracy", "win_rate", "reward_accuracy")]
    for name in (*named, *likely, *after):
        if is_number(metrics.get(name)):
            return name, metrics[name]
    return None


def counts(standings: Sequence[Standing]) -> dict[State, int]:
    """Return how many arms stand where, states that none is in left out."""
    found = {state: sum(one.state is state for one in standings) for state in State}
    return {state: number for state, number in found.items() if number}
