"""What is written down for jobs that could not say it themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlpipe.launchers.base import JobStatus, Phase
from rlpipe.launchers.slurm.verdict import settle
from rlpipe.launchers.verdict import cancel_dependants, dependants, is_final
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep, write_outcome

NOW = 1_000.0


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    made = Sweep.create(tmp_path / "sweep", cwd=str(tmp_path))
    made.add(
        [
            Job("sft", Kind.stage, (), str(tmp_path / "sft")),
            Job("rm", Kind.stage, (), str(tmp_path / "rm"), ("sft",)),
            Job("0", Kind.arm, (), str(tmp_path / "0"), ("rm",)),
            Job("1", Kind.arm, (), str(tmp_path / "1")),
        ]
    )
    for one in made.jobs:
        made.job_folder(one).mkdir(parents=True)
    made.submitted(
        "slurm", ["sft", "rm", "0", "1"], job_ids={"sft": "1_0", "rm": "2_0", "0": "3_0", "1": "4_0"}, time=NOW
    )
    return made


def job(sweep: Sweep, key: str) -> Job:
    return next(one for one in sweep.jobs if one.key == key)


def told(sweep: Sweep, key: str, ended: Ended, **more) -> None:
    write_outcome(sweep.job_folder(job(sweep, key)), Outcome(ended, **{"time": NOW + 1, **more}))


def gone(reason: str) -> JobStatus:
    return JobStatus(Phase.gone, reason=reason)


def test_dependants_are_found_through_other_stages(sweep):
    assert [one.key for one in dependants(sweep.jobs, "sft")] == ["rm", "0"]


def test_a_failed_stage_tells_all_that_need_it_why(sweep):
    told(sweep, "sft", Ended.failed, error="no memory")
    cancel_dependants(sweep, job(sweep, "sft"))
    assert sweep.outcome(job(sweep, "rm")).error == "stage sft, which it needs, failed: no memory"
    assert "stage rm, which it needs, cancelled: stage sft" in sweep.outcome(job(sweep, "0")).error
    assert sweep.outcome(job(sweep, "1")) is None


def test_who_was_lost_gets_slurm_s_word_and_the_log_s(sweep):
    told(sweep, "1", Ended.running, job_id="4_0")
    (sweep.job_folder(job(sweep, "1")) / "log.txt").write_text(
        "step 3\nslurmstepd-n1: error: Exceeded job memory limit\n"
    )
    settle(sweep, job(sweep, "1"), gone("FAILED (SIGKILL)"))
    outcome = sweep.outcome(job(sweep, "1"))
    assert outcome.ended is Ended.failed
    assert outcome.error == "FAILED (SIGKILL); slurmstepd-n1: error: Exceeded job memory limit"


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        (Ended.stopped, gone("CANCELLED"), Ended.cancelled),
        (Ended.stopped, gone("FAILED (exit 75)"), Ended.stopped),
        (Ended.stopped, gone("FAILED (exit 143, SIGTERM)"), Ended.failed),
        (Ended.stopped, gone("FAILED (SIGTERM)"), Ended.failed),
        (Ended.running, gone("CANCELLED"), Ended.cancelled),
        (Ended.running, gone("TIMEOUT"), Ended.failed),
        (Ended.running, JobStatus(Phase.queued, reason="BeginTime"), Ended.running),
        (Ended.ok, gone("NODE_FAIL"), Ended.ok),
        (Ended.pruned, gone("CANCELLED"), Ended.pruned),
        (Ended.failed, gone("CANCELLED"), Ended.failed),
    ],
)
def test_the_verdict_depends_on_what_was_known(sweep, before, seen, after):
    told(sweep, "1", before)
    settle(sweep, job(sweep, "1"), seen)
    assert sweep.outcome(job(sweep, "1")).ended is after


def test_an_outcome_of_an_earlier_submission_is_none_of_this_one(sweep):
    told(sweep, "1", Ended.failed, time=NOW - 10)
    assert not is_final(sweep, job(sweep, "1"), sweep.outcome(job(sweep, "1")))
    # The clock of a node may be behind, but the job's id says whose word it is.
    told(sweep, "1", Ended.failed, time=NOW - 10, job_id="4_0")
    assert is_final(sweep, job(sweep, "1"), sweep.outcome(job(sweep, "1")))


@pytest.mark.parametrize("reason", ["forgotten by SLURM", "CANCELLED", "FAILED (exit 1)"])
def test_what_waited_for_a_stage_that_was_killed_hard_is_cancelled_with_its_reason(sweep, reason):
    """SLURM drops jobs whose dependency can never be satisfied, and may not even remember them."""
    told(sweep, "sft", Ended.running)
    settle(sweep, job(sweep, "sft"), gone("FAILED (SIGKILL)"))
    for key in ("rm", "0"):
        settle(sweep, job(sweep, key), gone(reason))
        outcome = sweep.outcome(job(sweep, key))
        assert outcome.ended is Ended.cancelled
        assert "which it needs, " in outcome.error
    assert "stage sft, which it needs, failed: FAILED (SIGKILL)" in sweep.outcome(job(sweep, "rm")).error
    settle(sweep, job(sweep, "1"), gone("forgotten by SLURM"))
    assert sweep.outcome(job(sweep, "1")).ended is Ended.failed, "it waited for nothing"
