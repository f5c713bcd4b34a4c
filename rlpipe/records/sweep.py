"""What a sweep's folder holds.

sweep.json           the study: command, code, launcher, and every job (arms, and stages that arms need)
multirun.yaml        Hydra's own note of the command
0/ 1/ …              the arms' run directories
.launch/<job>/       what the launcher needs of a job:
    job.pkl          the frozen work: everything resolved, nothing is composed again
    outcome.json     how the newest attempt stands (`Outcome`); of further processes of its run outcome.<rank>.json
    return.pkl       what the work returned, for a sweeper that waits for it
    log.txt          stdout and stderr of all attempts
    extended         there where a pruned arm is to go on to its end
optuna.jsonl         what was drawn and what it came to, in a sweep that searches (`sweep.trials`)
.launch/search/      who drives such a search, and whether it was ended by hand
.launch/rungs/       where arms are judged, in a sweep that stops hopeless ones (`records.rungs`)
.launch/submissions.jsonl   what was handed to whom, and when
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from rlpipe.core.errors import RecordError
from rlpipe.core.files import append, json_line, json_text, read_json, read_lines, write_atomic
from rlpipe.core.shapes import NUMBER, Shape
from rlpipe.records.provenance import hide_override

SWEEP_FILE = "sweep.json"
_JOB: Shape = {
    "key": str,
    "kind": {"arm", "stage"},
    "overrides": [str],
    "run_dir": str,
    "needs": [str],
    "fields?": {str: str},
    "steps?": int,
    "confirms?": bool,
    "reads?": [str],
}
_SWEEP: Shape = {
    "jobs?": [_JOB],
    "arms?": [{"num": int, "overrides": [str], "folder": str, "confirms?": bool}],
    "objective?": str,
    "asha?": {"rungs?": [int], "reduction": int},
    "confirmation?": {"setting": str, "candidates": int, "by": str, "held_out": bool},
}
_SUBMISSION: Shape = {"time": NUMBER, "launcher": str, "keys": [str]}
_OUTCOME: Shape = {
    "ended": {"running", "ok", "failed", "stopped", "pruned", "cancelled"},
    "attempt?": int,
    "time?": NUMBER,
    "pid?": int,
    "error?": str,
    "traceback?": str,
    "host?": str,
    "job_id?": str,
    "exit_code?": int,
}
EXTENDED = "extended"
"""The file in a job's folder that says that no rung ends it any more."""
JOB_ID = "RLPIPE_JOB_ID"
"""The environment variable by which a launcher tells a job the id that it knows it by."""


class Kind(Enum):
    """What a job is for."""

    arm = "arm"
    stage = "stage"


class Ended(Enum):
    """How an attempt at a job stands or ended."""

    running = "running"
    ok = "ok"
    failed = "failed"
    stopped = "stopped"
    """Asked to stop, saved, can go on."""
    pruned = "pruned"
    """It did not go on at a rung of the sweep; saved, and goes on only where it is extended."""
    cancelled = "cancelled"
    """Never to run: cancelled by hand, or a stage that it needs has failed."""


DONE_WELL = (Ended.ok, Ended.pruned)
"""How an attempt ends that has done all that it was to do."""


@dataclass(frozen=True)
class Job:
    """One piece of work of a sweep: an arm, or a stage that arms need."""

    key: str
    """The arm's number, or the stage's name."""
    kind: Kind
    overrides: tuple[str, ...]
    run_dir: str
    """Absolute; a stage's lies in the store."""
    needs: tuple[str, ...] = ()
    """Keys of the stages that must be there first."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """For an arm: the fields in which the arms differ, with its values."""
    steps: int | None = None
    """Planned optimiser steps, where they are known."""
    confirms: bool = False
    """Whether it is a fresh seed of the setting that won, which runs to its end and is reported apart."""
    reads: tuple[str, ...] = ()
    """Absolute paths of the files and folders of this machine that it reads beside that: rows, weights, and stages that
    are there."""

    @property
    def setting(self) -> str:
        """What the seeds of one setting have in common."""
        return setting_of(self.overrides)


def setting_of(overrides: Sequence[str]) -> str:
    """Return what the arms of one setting have in common: all overrides but the seed, without secrets."""
    return " ".join(sorted(hide_override(one) for one in overrides if one.partition("=")[0].lstrip("+") != "seed"))


@dataclass(frozen=True)
class Confirmation:
    """Which setting of a sweep was measured again on fresh seeds, and how it had been chosen."""

    setting: str
    candidates: int
    """The settings that it was chosen from."""
    by: str
    """The number that chose it, in words."""
    held_out: bool
    """Whether that number stands for other rows than those of the final evaluation."""


@dataclass(frozen=True)
class Outcome:
    """How the newest attempt at a job stands, as the job itself wrote it."""

    ended: Ended
    attempt: int = 1
    error: str | None = None
    """What went wrong, in a line, or why it was cancelled."""
    traceback: str | None = None
    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)
    job_id: str | None = None
    """Its launcher's name for it."""
    time: float = field(default_factory=time.time)
    exit_code: int | None = None


class Sweep:
    """One sweep's folder. `Sweep.create` makes it, `Sweep.load` reads it."""

    def __init__(self, folder: Path, data: dict[str, Any]):
        self.folder = folder
        self.data = data

    @classmethod
    def create(cls, folder: Path, **study: Any) -> Sweep:
        """Begin a sweep: `study` says what it is (command, code, launcher and its settings, objective).

        Raises RecordError for a folder that cannot be written or that holds a sweep already.
        """
        folder = folder.expanduser().resolve()
        if cls(folder, study).exists:
            raise RecordError(
                folder,
                "holds a sweep already",
                f"go on with it: rlpipe sweep {folder} resume; or name another hydra.sweep.dir",
            )
        sweep = cls(folder, {**study, "created": time.time(), "jobs": [], "arms": []})
        sweep._write()
        return sweep

    @classmethod
    def load(cls, folder: Path | str) -> Sweep:
        """Read a sweep from any process, anywhere. Raises RecordError for a folder that holds none."""
        folder = Path(folder).expanduser().resolve()
        data = read_sweep(folder)
        if data is None:
            raise RecordError(folder, f"no sweep's folder (it has no {SWEEP_FILE})", "name one under multirun/")
        return cls(folder, data)

    @property
    def is_ours(self) -> bool:
        """Whether its arms are runs of rlpipe, which leave a record, rather than another application's function."""
        return str(self.data.get("task", "")).startswith("rlpipe.")

    @property
    def confirmation(self) -> Confirmation | None:
        """What was measured again; None where nothing was."""
        found = self.data.get("confirmation")
        return None if found is None else Confirmation(**found)

    @property
    def exists(self) -> bool:
        """Whether the folder holds a sweep."""
        return (self.folder / SWEEP_FILE).exists()

    @property
    def jobs(self) -> list[Job]:
        """All jobs, stages before the arms that need them."""
        return [_job(one) for one in self.data["jobs"]]

    @property
    def arms(self) -> list[Job]:
        """The jobs that are arms, by number."""
        return [job for job in self.jobs if job.kind is Kind.arm]

    def add(self, jobs: Sequence[Job]) -> None:
        """Add jobs; a stage that the sweep knows already is not added twice."""
        known = {job.key for job in self.jobs}
        fresh = [job for job in jobs if job.key not in known]
        self.data["jobs"] += [{**asdict(job), "kind": job.kind.value} for job in fresh]
        self.data["arms"] += [
            {
                "num": int(job.key),
                "overrides": list(job.overrides),
                "folder": os.path.relpath(job.run_dir, self.folder),
                **({"confirms": True} if job.confirms else {}),
            }
            for job in fresh
            if job.kind is Kind.arm
        ]
        self._write()

    def change(self, **study: Any) -> None:
        """Replace parts of what the folder says of the study."""
        self.data |= study
        self._write()

    def job_folder(self, job: Job) -> Path:
        """Return the folder with what the launcher needs of a job."""
        return self.folder / ".launch" / job.key

    def frozen_config(self, job: Job) -> Path:
        """Return the file of an arm's resolved config, which is there before the arm begins."""
        return Path(job.run_dir) / "config.yaml"

    def extend(self, job: Job) -> None:
        """Let a pruned arm go on to its end when it runs again."""
        write_atomic(self.job_folder(job) / EXTENDED, "")

    def outcome(self, job: Job) -> Outcome | None:
        """Return how a job's newest attempt stands, None when it never began."""
        return read_outcome(self.job_folder(job))

    def submitted(self, launcher: str, keys: Sequence[str], **how: Any) -> None:
        """Note that jobs were handed to a launcher (`how`: the scheduler's ids and the like)."""
        row = {"time": time.time(), "launcher": launcher, "keys": list(keys), **how}
        append(self.folder / ".launch" / "submissions.jsonl", json_line(row))

    @property
    def submissions(self) -> list[dict[str, Any]]:
        """What was handed to whom, oldest first."""
        fix = "delete that line: resume submits its jobs again where they have not ended well"
        return read_lines(self.folder / ".launch" / "submissions.jsonl", fix, _SUBMISSION)

    def _write(self) -> None:
        write_atomic(self.folder / SWEEP_FILE, json_text(self.data))


def _job(row: dict[str, Any]) -> Job:
    lists = {name: tuple(row.get(name, ())) for name in ("overrides", "needs", "reads")}
    return Job(**{**row, **lists, "kind": Kind(row["kind"])})


def read_sweep(folder: Path) -> dict[str, Any] | None:
    """Return what a folder's sweep.json holds, None where there is none. Raises RecordError for a damaged one."""
    fix = "put it back from a backup; or move it away: rlpipe report then shows the arms that have begun"
    return read_json(folder / SWEEP_FILE, fix, _SWEEP)


def outcome_file(job_folder: Path, rank: int = 0) -> Path:
    """Return where one of a run's processes says how it stands; the main one speaks for the job."""
    return job_folder / (f"outcome.{rank}.json" if rank else "outcome.json")


def read_outcome(job_folder: Path, rank: int = 0) -> Outcome | None:
    """Return what a job's folder says of its newest attempt, or of one process of it."""
    fix = "delete it: the job counts as one that has not run, and resume submits it again"
    row = read_json(outcome_file(job_folder, rank), fix, _OUTCOME)
    if row is None:
        return None
    known = {one.name: row[one.name] for one in dataclasses.fields(Outcome) if row.get(one.name) is not None}
    return Outcome(**{**known, "ended": Ended(row["ended"])})


def write_outcome(job_folder: Path, outcome: Outcome, rank: int = 0) -> None:
    """Replace what a job's folder says of its newest attempt, or of one process of it."""
    write_atomic(outcome_file(job_folder, rank), json_text({**asdict(outcome), "ended": outcome.ended.value}))


DONE, FAILED, STOPPED = 0, 1, 75
NOTHING_SAVED = "before there was anything to save"


def cancelled(sweep: Sweep, job: Job, reason: str) -> None:
    """Note that a job will not run: in its outcome, and in an arm's record where no attempt has left a result."""
    folder = sweep.job_folder(job)
    before = read_outcome(folder)
    write_outcome(folder, Outcome(Ended.cancelled, attempt=before.attempt if before else 0, error=reason))
    result = Path(job.run_dir) / "result.json"
    if job.kind is Kind.arm and sweep.frozen_config(job).exists() and not result.exists():
        reason_row = {"type": "Cancelled", "message": reason}
        row = {"status": "cancelled", "stage": "check", "cost": {}, "attempts": 0, "metrics": {}, "error": reason_row}
        write_atomic(result, json_text(row))


def lost(sweep: Sweep, job: Job, reason: str, exit_code: int | None = None) -> None:
    """Note that a job's process is gone without a word (a signal, no memory, its node)."""
    folder = sweep.job_folder(job)
    before = read_outcome(folder) or Outcome(Ended.running)
    write_outcome(folder, dataclasses.replace(_ended(before, Ended.failed, exit_code), error=reason))


def _ended(running: Outcome, ended: Ended, exit_code: int | None) -> Outcome:
    now = Outcome(ended).time
    return dataclasses.replace(running, ended=ended, time=now, exit_code=exit_code)
