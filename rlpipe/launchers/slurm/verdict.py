"""How SLURM's words tell that a job was cancelled, or ended as one that saved does."""

from __future__ import annotations

from rlpipe.launchers import verdict
from rlpipe.launchers.base import JobStatus, Phase
from rlpipe.launchers.verdict import Ending
from rlpipe.records.sweep import STOPPED, Job, Sweep

CANCELLED = "CANCELLED"


def settle(sweep: Sweep, job: Job, seen: JobStatus) -> None:
    """Write down how a job that SLURM has no more ended, where its own outcome does not say so."""
    if seen.phase is not Phase.gone:
        return
    reason = seen.reason or "gone"
    by = "scancel" if reason.startswith(CANCELLED) else None
    saved = not reason.startswith("FAILED") or f"exit {STOPPED}" in reason
    verdict.settle(sweep, job, Ending("; ".join([reason, *_last_words(sweep, job)]), by, saved))


def _last_words(sweep: Sweep, job: Job) -> list[str]:
    """Return what SLURM or the setup lines said last in a job's log, if they did."""
    log = sweep.job_folder(job) / "log.txt"
    lines = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    messages = [line for line in lines if line.startswith(("slurmstepd", "setup failed", "srun: error"))]
    return messages[-1:]
