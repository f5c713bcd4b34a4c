"""Writing down what a job could not say itself: that it was lost, or that it will never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rlpipe.launchers.base import JobStatus, Phase
from rlpipe.records.sweep import DONE_WELL, STOPPED, Ended, Job, Outcome, Sweep, cancelled, lost

CANCELLED = "CANCELLED"
FINAL = (*DONE_WELL, Ended.failed, Ended.cancelled)


def settle(sweep: Sweep, job: Job, seen: JobStatus) -> None:
    """Write down how a job that is gone ended, where its own outcome does not say so.

    A job that saved and was then cancelled counts as cancelled; one that saved and is gone otherwise can go on.
    """
    outcome = sweep.outcome(job)
    if seen.phase is not Phase.gone or is_final(sweep, job, outcome):
        return
    reason, why = seen.reason or "gone", _why(sweep, job)
    if reason.startswith(CANCELLED) or (outcome is None and why is not None):  # what never began waited in vain
        cancelled(sweep, job, why or "cancelled (scancel)")
    elif outcome is None or outcome.ended is not Ended.stopped or _killed(reason):
        lost(sweep, job, "; ".join([reason, *_last_words(sweep, job)]))


def _killed(reason: str) -> bool:
    """Whether a job ended otherwise than one that saved does, so that what it wrote is of an earlier attempt."""
    return reason.startswith("FAILED") and f"exit {STOPPED}" not in reason


def _last_words(sweep: Sweep, job: Job) -> list[str]:
    """Return what SLURM or the setup lines said last in a job's log, if they did."""
    log = sweep.job_folder(job) / "log.txt"
    lines = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    messages = [line for line in lines if line.startswith(("slurmstepd", "setup failed", "srun: error"))]
    return messages[-1:]


def is_final(sweep: Sweep, job: Job, outcome: Outcome | None) -> bool:
    """Whether an outcome says how the newest submission of a job ended."""
    if outcome is None or outcome.ended not in FINAL:
        return False
    if outcome.job_id is not None and outcome.job_id == job_ids(sweep).get(job.key):
        return True
    begun = {key: row["time"] for row in sweep.submissions for key in row["keys"]}
    return outcome.time >= begun.get(job.key, 0.0)


def job_ids(sweep: Sweep) -> dict[str, str]:
    """Return SLURM's id (`12_3`) of every job that was submitted, that of its newest submission."""
    return {key: job for row in sweep.submissions for key, job in row.get("job_ids", {}).items()}


def cancel_dependants(sweep: Sweep, failed: Job) -> None:
    """Write into every job that needs a failed one, directly or not, that it will not run."""
    for job in dependants(sweep.jobs, failed.key):
        if not is_final(sweep, job, sweep.outcome(job)):
            cancelled(sweep, job, _why(sweep, job) or f"stage {failed.key}, which it needs, failed")


def dependants(jobs: Sequence[Job], key: str) -> Iterator[Job]:
    """Yield the jobs that need one, directly or not, those nearest to it first."""
    reached = {key}
    for job in jobs:  # a sweep lists what is needed before what needs it
        if reached & set(job.needs):
            reached.add(job.key)
            yield job


def _why(sweep: Sweep, job: Job) -> str | None:
    """Return which stage a cancelled job waited for in vain, and what became of that; None where none failed."""
    jobs: Mapping[str, Job] = {one.key: one for one in sweep.jobs}
    for key in job.needs:
        outcome = sweep.outcome(jobs[key])
        if outcome is not None and outcome.ended in (Ended.failed, Ended.cancelled, Ended.stopped):
            return f"stage {key}, which it needs, {outcome.ended.value}: {outcome.error}"
    return None
