"""What is asked of a launcher: order, failures, cancelling and going on, with jobs that do next to nothing."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.config.launchers import LauncherConfig
from rlpipe.launchers.base import Launcher, Phase
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep
from rlpipe.sweep.job import freeze
from rlpipe.testing.config import check_config, check_light, name_of

PATIENCE = 180.0
"""Seconds that `check_launcher` waits for a job to begin or to end."""


@dataclass
class _Trivial:
    """What a job of `check_launcher` does: it notes that it began, and ends as its key says."""

    folder: Path
    key: str

    def __call__(self) -> None:
        with open(self.folder / "begun", "a", encoding="utf-8") as begun:
            begun.write(f"{self.key}\n")
        if self.key == "fails":
            raise RuntimeError("told to fail")
        if self.key == "2":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.key == "3" and not (self.folder / "go").exists():
            time.sleep(0.05)


def check_launcher(cls: type[Launcher], folder: Path, **settings: Any) -> None:
    """Check a launcher class with a sweep of six small jobs in `folder`, which must be one that its jobs can see.

    The class must be registered (by its entry point); `settings` are fields of its Config. Jobs begin after those that
    they need; a job whose need fails is cancelled, and its outcome names the need; one that is killed gets an outcome;
    one that is cancelled can be submitted again by another process. Statuses tell of every job that was submitted.
    """
    assert issubclass(cls, Launcher), f"{cls.__name__} is no subclass of rlpipe.launchers.base.Launcher"
    check_light([cls.__module__])
    check_config(cls, LauncherConfig)
    sweep = _small_sweep(cls, folder, settings)
    launcher = cls(sweep)
    name, jobs = cls.__name__, {job.key: job for job in sweep.jobs}
    fatal = [problem for problem in launcher.problems() if problem.fatal]
    assert not fatal, f"{name}.problems: {fatal}; name other `settings`"
    assert not launcher.statuses(sweep.jobs), f"{name}.statuses tells of jobs that were never submitted"
    launcher.submit(sweep.jobs)
    reported = set(launcher.statuses(sweep.jobs))
    assert reported == set(jobs), f"{name}.statuses leaves out {sorted(set(jobs) - reported)}, which were submitted"
    _until(launcher, "every job but 3 ends", lambda: all(_over(sweep, job) for key, job in jobs.items() if key != "3"))
    _until(launcher, "job 3 runs", lambda: launcher.statuses([jobs["3"]])["3"].phase is Phase.running)
    _check_outcomes(name, sweep, (folder / "begun").read_text(encoding="utf-8").split())
    _until(launcher, "job 3 begins", lambda: "3" in (folder / "begun").read_text(encoding="utf-8").split())
    launcher.cancel([jobs["3"]])
    _until(launcher, "job 3 is gone", lambda: launcher.statuses([jobs["3"]])["3"].phase is Phase.gone)
    _until(launcher, "job 3 has its outcome", lambda: _over(sweep, jobs["3"]))
    before = _ended(name, sweep, "3", Ended.cancelled)
    (folder / "go").touch()
    _submit_elsewhere(sweep, "3")
    _until(launcher, "job 3 ends", lambda: _over(sweep, jobs["3"]) and sweep.outcome(jobs["3"]) != before)
    again = _ended(name, sweep, "3", Ended.ok)
    assert again.attempt == 2, f"{name}: job 3 was submitted twice, and its outcome says attempt {again.attempt}"


def _small_sweep(cls: type[Launcher], folder: Path, settings: dict[str, Any]) -> Sweep:
    """Freeze two stages, an arm that needs each, one that is killed, and one that waits for a file."""
    fields = {**dataclasses.asdict(cls.Config()), **settings}
    cwd = str(folder.resolve())
    sweep = Sweep.create(folder / "sweep", launcher=name_of(cls, "launcher"), settings=fields, cwd=cwd, code={})
    needs = {"works": (), "fails": (), "0": ("works",), "1": ("fails",), "2": (), "3": ()}
    for key, needed in needs.items():
        kind = Kind.arm if key.isdigit() else Kind.stage
        job = Job(key, kind, (), str(sweep.folder / key), needed)
        Path(job.run_dir).mkdir()
        sweep.add([job])
        freeze(sweep, job, _Trivial(folder.resolve(), key))
    return sweep


def _check_outcomes(name: str, sweep: Sweep, begun: list[str]) -> None:
    _ended(name, sweep, "works", Ended.ok)
    _ended(name, sweep, "0", Ended.ok)
    assert begun.index("works") < begun.index("0"), f"{name}: job 0 began before the one that it needs"
    failed = _ended(name, sweep, "fails", Ended.failed)
    assert "told to fail" in (failed.error or ""), f"{name}: a failed job's own outcome was replaced: {failed}"
    left = _ended(name, sweep, "1", Ended.cancelled)
    assert "1" not in begun, f"{name}: job 1 began, though what it needs has failed"
    assert "fails" in (left.error or ""), f"{name}: the outcome of a cancelled job does not name what it needs: {left}"
    assert _ended(name, sweep, "2", Ended.failed).error, f"{name}: a killed job's outcome does not say how it was lost"


def _ended(name: str, sweep: Sweep, key: str, wanted: Ended) -> Outcome:
    """Return a job's outcome, which must be the wanted one."""
    outcome = next(sweep.outcome(job) for job in sweep.jobs if job.key == key)
    assert outcome is not None, f"{name}: job {key} has no outcome, and should be {wanted.value}"
    assert outcome.ended is wanted, f"{name}: job {key} should be {wanted.value}: {outcome}"
    return outcome


def _over(sweep: Sweep, job: Job) -> bool:
    outcome = sweep.outcome(job)
    return outcome is not None and outcome.ended in (Ended.ok, Ended.failed, Ended.cancelled)


def _until(launcher: Launcher, what: str, met: Callable[[], bool]) -> None:
    """Ask for statuses, as a person who watches does, until something is so."""
    sweep, deadline = launcher.sweep, time.monotonic() + PATIENCE
    while True:
        seen = launcher.statuses(sweep.jobs)
        if met():
            return
        state = {job.key: (seen.get(job.key), sweep.outcome(job)) for job in sweep.jobs}
        assert time.monotonic() < deadline, f"{type(launcher).__name__}: not within {PATIENCE:g} s: {what}; {state}"
        time.sleep(0.1)


def _submit_elsewhere(sweep: Sweep, key: str) -> None:
    """Submit a job again from a process that knows no more than the sweep's folder."""
    program = (
        "import sys\n"
        "from rlpipe.launchers.base import launcher_of\n"
        "from rlpipe.records.sweep import Sweep\n"
        "sweep = Sweep.load(sys.argv[1])\n"
        "launcher_of(sweep).submit([job for job in sweep.jobs if job.key == sys.argv[2]])\n"
    )
    command = [sys.executable, "-c", program, str(sweep.folder), key]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"submitting from another process fails:\n{done.stderr.strip()}"
