"""Writing down what a job could not say itself: that it was lost, or that it will never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rlpipe.records.sweep import DONE_WELL, Ended, Job, Outcome, Sweep, cancelled, lost

FINAL = (*DONE_WELL, Ended.failed, Ended.cancelled)


@dataclass(frozen=True)
class Ending:
    """How a scheduler saw a job end."""

    reason: str
    """In its words, with what the job's log says last."""
    cancelled: str | None = None
    """By what it was cancelled, None where it was not."""
    saved: bool = True
    """Whether it may have ended as one that saved does; else what it wrote of saving is of an earlier attempt."""


def settle(sweep: Sweep, job: Job, ending: Ending) -> None:
    """Write down how a job that is gone ended, where its own outcome does not say so.

    A job that saved and was then cancelled counts as cancelled; one that saved and is gone otherwise can go on.
    """
    outcome = sweep.outcome(job)
    if is_final(sweep, job, outcome):
        return
    why = in_vain(sweep, job)
    if ending.cancelled or (outcome is None and why is not None):  # what never began waited in vain
        cancelled(sweep, job, why or f"cancelled ({ending.cancelled})")
    elif outcome is None or outcome.ended is not Ended.stopped or not ending.saved:
        lost(sweep, job, ending.reason)


def is_final(sweep: Sweep, job: Job, outcome: Outcome | None) -> bool:
    """Whether an outcome says how the newest submission of a job ended."""
    if outcome is None or outcome.ended not in FINAL:
        return False
    if outcome.job_id is not None and outcome.job_id == job_ids(sweep).get(job.key):
        return True
    begun = {key: row["time"] for row in sweep.submissions for key in row["keys"]}
    return outcome.time >= begun.get(job.key, 0.0)


def job_ids(sweep: Sweep) -> dict[str, str]:
    """Return the scheduler's id of every job that was submitted, that of its newest submission."""
    return {key: job for row in sweep.submissions for key, job in row.get("job_ids", {}).items()}


def cancel_dependants(sweep: Sweep, failed: Job) -> None:
    """Write into every job that needs a failed one, directly or not, that it will not run."""
    for job in dependants(sweep.jobs, failed.key):
        if not is_final(sweep, job, sweep.outcome(job)):
            cancelled(sweep, job, in_vain(sweep, job) or f"stage {failed.key}, which it needs, failed")


def dependants(jobs: Sequence[Job], key: str) -> Iterator[Job]:
    """Yield the jobs that need one, directly or not, those nearest to it first."""
    reached = {key}
    for job in jobs:  # a sweep lists what is needed before what needs it
        if reached & set(job.needs):
            reached.add(job.key)
            yield job


def in_vain(sweep: Sweep, job: Job) -> str | None:
    """Return which stage a job waits for in vain, and what became of that; None where none failed."""
    jobs: Mapping[str, Job] = {one.key: one for one in sweep.jobs}
    for key in job.needs:
        outcome = sweep.outcome(jobs[key])
        if outcome is not None and outcome.ended in (Ended.failed, Ended.cancelled, Ended.stopped):
            return f"stage {key}, which it needs, {outcome.ended.value}: {outcome.error}"
    return None
