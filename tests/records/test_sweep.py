"""A sweep's folder, written by one process and read by another."""

from __future__ import annotations

import pytest

from rlpipe.core.errors import RecordError
from rlpipe.records.sweep import Ended, Outcome, Sweep, read_outcome, write_outcome


def test_another_process_reads_the_same_jobs(sweep):
    again = Sweep.load(sweep.folder)
    assert again.jobs == sweep.jobs
    assert [job.key for job in again.arms] == ["0", "1", "2", "3"]
    assert again.data["arms"][2] == {"num": 2, "overrides": ["method=dpo", "seed=2"], "folder": "2"}


def test_a_job_is_added_once(sweep):
    sweep.add(sweep.jobs)
    assert len(Sweep.load(sweep.folder).jobs) == 5


def test_a_folder_holds_one_sweep(sweep, tmp_path):
    with pytest.raises(RecordError, match=r"holds a sweep already\n.*resume"):
        Sweep.create(sweep.folder)
    with pytest.raises(RecordError, match=r"no sweep's folder"):
        Sweep.load(tmp_path)


def test_outcomes_come_back_as_written(sweep):
    job = sweep.jobs[1]
    assert sweep.outcome(job) is None
    outcome = Outcome(Ended.failed, attempt=2, error="boom", traceback="…", job_id="7_1", exit_code=1)
    write_outcome(sweep.job_folder(job), outcome)
    assert sweep.outcome(job) == read_outcome(sweep.job_folder(job)) == outcome
