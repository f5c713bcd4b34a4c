"""A frozen job: what the launcher writes down, and what runs it where it lands.

    python -m rlpipe.sweep.job SWEEP/.launch/KEY

exits with 0 when the job is done, 1 when it failed, and 75 when it was asked to stop, has saved and can go on.
Of several processes (`torchrun … -m rlpipe.sweep.job FOLDER`) only rank 0 writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

import cloudpickle
from hydra.core.utils import JobReturn, JobStatus

from rlpipe.core import distributed
from rlpipe.core.errors import LaunchError, Pruned, RlpipeError, Stopped, advice
from rlpipe.core.files import write_atomic
from rlpipe.core.visible import visible
from rlpipe.records import attempts, rungs
from rlpipe.records.provenance import hide
from rlpipe.records.sweep import (
    DONE,
    FAILED,
    JOB_ID,
    NOTHING_SAVED,
    STOPPED,
    Ended,
    Job,
    Outcome,
    Sweep,
    _ended,
    read_outcome,
    write_outcome,
)
from rlpipe.sweep import code, discovery, pickles

Work = Callable[[], JobReturn | None]
"""What a job does. What it returns goes back to the sweeper; a stage returns nothing."""


def freeze(sweep: Sweep, job: Job, work: Work) -> None:
    """Write a job's work down as `job.pkl`. Raises LaunchError for work that cannot be pickled."""
    write_atomic(sweep.job_folder(job) / "job.pkl", pickled(work, f"{job.kind.value} {job.key}: its work"))


def pickled(value: Any, what: str) -> bytes:
    """Return a value for other processes to read. Raises LaunchError, which calls it `what`."""
    try:
        return cloudpickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise LaunchError(
            "",
            f"{what} cannot be written down for other processes ({error})",
            "keep locks, files and processes out of what the task function refers to",
        ) from error


def execute(folder: Path | str) -> Outcome:
    """Run a frozen job in this process and return how it ended; its folder says so too, at any moment.

    The work begins in the folder where the sweep was started. Nothing that the work raises leaves this function.
    """
    folder = Path(folder).resolve()
    sweep = Sweep.load(folder.parents[1])
    study = sweep.data
    before = read_outcome(folder, distributed.rank())
    running = Outcome(Ended.running, attempt=before.attempt + 1 if before else 1, job_id=current_job_id())
    _write(folder, running)
    try:
        os.chdir(study["cwd"])
        with _context((attempts.remarks, _remarks(study)), (rungs.current, rungs.Rungs.of(sweep, folder.name))):
            returned = _work(folder)
        error = returned._return_value if returned is not None and returned.status is JobStatus.FAILED else None
    except BaseException as raised:
        returned, error = None, raised
    outcome = _outcome(running, error)
    if outcome.traceback:  # of every process: the main one often knows only that another is gone
        print(visible(outcome.traceback), file=sys.stderr, flush=True)
    if returned is not None and distributed.is_main():
        write_atomic(folder / "return.pkl", _picklable(returned))
    _write(folder, outcome)
    return outcome


def returned(sweep: Sweep, job: Job) -> JobReturn | None:
    """Return what a job's work returned, None when it ended without returning."""
    path = sweep.job_folder(job) / "return.pkl"
    return pickles.loads(path.read_bytes()) if path.exists() else None


def current_job_id() -> str | None:
    """Return the id by which the launcher knows the job that this process belongs to, None where it gave none."""
    return os.environ.get(JOB_ID)


def _work(folder: Path) -> JobReturn | None:
    with contextlib.suppress(FileNotFoundError):
        (folder / "return.pkl").unlink()
    discovery.register()  # what is unpickled may name them
    work: Work = pickles.loads((folder / "job.pkl").read_bytes())
    return work()


@contextlib.contextmanager
def _context(*values: tuple[ContextVar[Any], Any]) -> Iterator[None]:
    """Give the work what only the sweep knows."""
    tokens = [(variable, variable.set(value)) for variable, value in values]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


def _remarks(study: dict[str, Any]) -> tuple[str, ...]:
    """Return, and say in the log, whether the code is another than the one that the sweep was rehearsed with."""
    change = code.changed(study.get("code", {}), code.state(Path.cwd()))
    if change and distributed.is_main():
        print(visible(f"note: {change}"), file=sys.stderr, flush=True)
    return (change,) if change else ()


def _outcome(running: Outcome, error: BaseException | None) -> Outcome:
    """Return how an attempt ended that raised `error`, or nothing."""
    reason = error.__cause__ if isinstance(error, SystemExit) and error.__cause__ else error
    if isinstance(reason, Pruned):
        return dataclasses.replace(_ended(running, Ended.pruned, DONE), error=hide(_headline(reason)))
    stopped = isinstance(error, (Stopped, KeyboardInterrupt)) or (
        isinstance(error, SystemExit) and error.code == STOPPED
    )
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return _ended(running, Ended.ok, DONE)
    if stopped:
        message = hide(_headline(reason)) or "interrupted"
        return dataclasses.replace(_ended(running, Ended.stopped, STOPPED), error=message)
    text = hide("".join(traceback.format_exception(error)))
    exit_code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else FAILED
    failed = _ended(running, Ended.failed, exit_code)
    if isinstance(error, RlpipeError):
        first = error.problems[0]
        message = f"{type(error).__name__}: {hide(first.headline).splitlines()[0]}"
        message += f"\n{advice(hide(first.fix))}" if first.fix else ""
    else:
        message = f"{type(error).__name__}: {hide(str(error)).strip()}".splitlines()[0]
    return dataclasses.replace(failed, error=message, traceback=text)


def _headline(error: BaseException | None) -> str:
    return error.headline if isinstance(error, (RlpipeError, Stopped)) else str(error)


def _write(folder: Path, outcome: Outcome) -> None:
    write_outcome(folder, outcome, distributed.rank())


def _picklable(returned: JobReturn) -> bytes:
    """Return a pickle that can be read again: a value or an error that cannot is replaced by words that say so."""
    try:
        frozen = cloudpickle.dumps(returned)
        pickle.loads(frozen)
    except Exception as error:  # whatever a user's own class does when it is pickled
        value = returned._return_value
        print(f"note: the job's {type(value).__name__} cannot be pickled ({error})", file=sys.stderr, flush=True)
        words = f"{type(value).__name__}: {value}"
        failed = returned.status is JobStatus.FAILED
        reason = LaunchError("", words, "its traceback stands in the log.txt") if failed else f"not picklable: {words}"
        frozen = cloudpickle.dumps(dataclasses.replace(returned, _return_value=reason))
    return frozen


def main(arguments: list[str]) -> int:
    """Run the frozen job of a folder and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m rlpipe.sweep.job SWEEP/.launch/KEY", file=sys.stderr)
        return 2
    faulthandler.enable()
    _listen()
    outcome = execute(arguments[0])
    codes = {Ended.ok: DONE, Ended.pruned: DONE, Ended.stopped: STOPPED}
    sys.stdout.flush()
    return codes.get(outcome.ended, FAILED)


def _listen() -> None:
    """Until a run listens itself (`core.signals`), SIGTERM and SIGHUP stop a job that has nothing to save yet.

    A launcher whose scheduler asks by another signal passes it on as SIGTERM.
    """
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            os._exit(128 + number)  # a forked worker: what it would raise is not ours to report
        signal.signal(number, signal.SIG_IGN)  # where every process of a job gets the signal, it comes twice
        # It may come anywhere: libraries reword or swallow what is an Exception, and this is none.
        raise KeyboardInterrupt(f"{signal.Signals(number).name} came {NOTHING_SAVED}")

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
