"""What jobs leave in S3 and in CloudWatch comes into the sweep's folder: once, and nothing else."""

from __future__ import annotations

import pytest

from rlpipe.records.lease import acquire
from rlpipe.records.sweep import Ended


def test_results_come_home_and_checkpoints_stay(make):
    made = make()
    made.launcher.submit([made.jobs["2"], made.jobs["sft"]])
    made.becomes("2", "InProgress", "Training")
    for path in ("metrics.jsonl", "checkpoints/checkpoint-1/weights", ".lease/1", "evaluations/.rows.1.tmp"):
        made.leaves("2", f"sweep/2/{path}", path)
    for path in ("sweep/.launch/2/job.pkl", "sweep/.launch/1/outcome.json", "sweep/sweep.json", "run/../../escaped"):
        made.leaves("2", path, "not for here")
    made.leaves("2", "sweep/.launch/2/return.pkl", "returned")
    made.leaves("sft", "run/result.json", "{}")
    made.becomes("sft", "InProgress", "Training")
    made.look()
    folder, stage = made.sweep.folder, made.sweep.folder.parent / "store" / "sft"
    assert not (stage / "result.json").exists(), "others would take half a stage for one"
    made.ends("sft", Ended.ok)
    made.look()
    assert [file.relative_to(folder).as_posix() for file in sorted((folder / "2").rglob("*"))] == ["2/metrics.jsonl"]
    assert (folder / ".launch" / "2" / "return.pkl").read_text() == "returned"
    assert (folder / ".launch" / "2" / "job.pkl").read_text() == "work of 2"
    assert not (folder / ".launch" / "1" / "outcome.json").exists()
    assert (stage / "result.json").exists()
    assert not (folder.parent / "escaped").exists()


def test_what_is_gone_there_is_deleted_and_what_has_not_changed_is_not_fetched_again(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.becomes("2", "InProgress", "Training")
    made.leaves("2", "sweep/2/portion", "rows")
    made.leaves("2", "sweep/2/config.yaml", "a: 1")
    made.look()
    config = made.sweep.folder / "2" / "config.yaml"
    config.write_text("changed here")
    del made.s3.content["/".join(("rlpipe", *made.launcher.queue.home.parts(made.jobs["2"]), "sweep/2/portion"))]
    made.look()
    assert not (made.sweep.folder / "2" / "portion").exists()
    assert config.read_text() == "changed here"
    made.leaves("2", "sweep/2/config.yaml", "a: 2")
    made.look()
    assert config.read_text() == "a: 2"


def test_what_was_printed_comes_once_also_after_the_end(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.becomes("2", "InProgress", "Training")
    name = made.name("2")
    log = made.sweep.folder / ".launch" / "2" / "log.txt"
    made.cloud.printed[name] = "one\n"
    made.look()
    made.look()
    assert log.read_text() == "one\n"
    made.ends("2", Ended.ok)
    made.look()
    made.cloud.printed[name] += "late\n"
    made.launcher.queue.home.bring(made.jobs["2"], name, True)
    assert log.read_text() == "one\nlate\n"


def test_nothing_is_decided_while_another_process_fetches(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.ends("2", Ended.failed)
    home = made.sweep.folder / ".launch" / "sagemaker"
    lease = acquire(home, "bringing results home")
    assert made.look()["2"].reason == "its results are on their way"
    with pytest.raises(AssertionError):
        made.ended("2")
    lease.release()
    made.look()
    assert made.ended("2") == ("failed", None)


def test_a_stage_that_somebody_builds_here_is_not_written_over(make):
    made = make()
    made.launcher.submit([made.jobs["sft"]])
    made.leaves("sft", "run/result.json", "{}")
    made.ends("sft", Ended.ok)
    stage = made.sweep.folder.parent / "store" / "sft"
    lease = acquire(stage, "building it")
    assert made.look()["sft"].reason == "its results are on their way"
    assert not (stage / "result.json").exists()
    lease.release()
    made.look()
    assert (stage / "result.json").exists()
    assert made.ended("sft") == ("ok", None)


def test_a_bucket_that_was_emptied_empties_nothing_here(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.becomes("2", "InProgress", "Training")
    made.leaves("2", "sweep/2/metrics.jsonl", "rows")
    made.look()
    made.s3.content.clear()
    made.look()
    assert (made.sweep.folder / "2" / "metrics.jsonl").read_text() == "rows"
