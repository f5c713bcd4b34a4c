"""Which jobs SageMaker is handed, when, and what becomes of those that it ends."""

from __future__ import annotations

import re

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import Phase
from rlpipe.launchers.sagemaker import home
from rlpipe.records.sweep import NOTHING_SAVED, Ended


def test_arms_are_handed_over_when_their_stage_is_here(make):
    made = make()
    made.launcher.submit(made.sweep.jobs)
    assert made.cloud.started == [made.name("sft"), made.name("2")]
    seen = made.look()
    assert [(seen[key].phase, seen[key].reason) for key in ("0", "sft")] == [
        (Phase.queued, "waits for sft"),
        (Phase.queued, "Starting"),
    ]
    made.becomes("sft", "InProgress", "Training")
    made.says("sft", Ended.ok)
    assert made.look()["sft"].phase is Phase.running, "its files may come after what it says of itself"
    assert made.look()["0"].reason == "waits for sft"
    made.leaves("sft", "run/model/weights", "heavy")
    made.becomes("sft", "Completed")
    made.look()
    assert made.cloud.started == [made.name(key) for key in ("sft", "2", "0", "1")]
    digest = made.launcher.bucket.keep(made.sweep.folder.parent / "store" / "sft" / "model" / "weights")
    assert digest in made.s3.content[f"rlpipe/jobs/{made.name('0')}.manifest"].decode()


def test_what_a_failed_stage_was_needed_for_is_cancelled_with_the_reason(make):
    made = make()
    made.launcher.submit(made.sweep.jobs)
    made.says("sft", Ended.failed, "DataError: no rows")
    made.becomes("sft", "Failed", words="AlgorithmError: , exit code: 1")
    made.look()
    assert made.ended("0") == made.ended("1") == ("cancelled", "stage sft, which it needs, failed: DataError: no rows")
    assert made.cloud.started == [made.name("sft"), made.name("2")]


def test_no_more_arms_at_once_than_the_throttle_allows(make):
    made = make(throttle=1)
    made.launcher.submit([made.jobs["sft"]])
    made.ends("sft", Ended.ok)
    made.look()
    made.launcher.submit([made.jobs[key] for key in "012"])
    assert made.cloud.started[1:] == [made.name("0")]
    made.ends("0", Ended.ok)
    made.look()
    assert made.cloud.started[1:] == [made.name("0"), made.name("1")]


def test_names_are_such_as_sagemaker_takes(make):
    made = make()
    made.launcher.submit(made.sweep.jobs)
    long = made.launcher.queue.submission_id("sft-ultrafeedback-0123456789ab", 1)
    assert long.endswith("0123456789ab-1")
    for name in (*made.cloud.started, long, made.launcher.queue.numbered(long, 20)):
        assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name), name


def test_a_job_is_asked_for_as_its_fields_say(make):
    made = make(
        spot=True, time="1:00:00", spot_wait="2:00:00", volume=7, extra={"VpcConfig": {"Subnets": ["s"]}, "Tags": []}
    )
    made.launcher.submit([made.jobs["2"]])
    request = made.cloud.requests[made.name("2")]
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3 * 3600}
    assert request["EnableManagedSpotTraining"] is True
    assert request["ResourceConfig"] == {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 7}
    assert request["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"
    assert request["CheckpointConfig"]["S3Uri"].startswith("s3://experiments/rlpipe/sweeps/")
    assert (request["VpcConfig"], request["Tags"]) == ({"Subnets": ["s"]}, [])


def test_a_further_key_adds_to_what_is_said(make):
    made = make(extra={"ResourceConfig": {"KeepAlivePeriodInSeconds": 600}})
    made.launcher.submit([made.jobs["2"]])
    request = made.cloud.requests[made.name("2")]["ResourceConfig"]
    assert (request["KeepAlivePeriodInSeconds"], request["InstanceCount"]) == (600, 1)


def test_who_is_killed_between_note_and_submission_loses_nothing_and_nothing_comes_twice(make):
    made = make()
    made.launcher.prepare()
    made.launcher.queue.note(made.sweep.jobs)  # and killed here
    first, second = made.another(), made.another()
    first.statuses(made.sweep.jobs)
    second.queue._known = {}  # it has looked before the first one handed anything over
    second.queue._hand_over()
    assert made.cloud.started == [made.name("sft"), made.name("2")]


@pytest.mark.parametrize(
    ("status", "stage", "words"),
    [
        ("Stopped", "MaxRuntimeExceeded", ""),
        ("Stopped", "MaxWaitTimeExceeded", ""),
        ("Failed", "Failed", "CapacityError: Unable to provision requested ML compute capacity"),
        ("Failed", "Failed", "InternalServerError: We encountered an internal error"),
    ],
)
def test_what_is_out_of_time_or_was_sagemakers_own_fault_goes_on_but_not_for_ever(make, status, stage, words):
    made = make(requeues=1)
    made.launcher.submit([made.jobs["2"]])
    made.says("2", Ended.stopped, "stopped after step 3")
    made.becomes("2", status, stage, words)
    assert made.look()["2"].phase is Phase.queued
    assert made.cloud.started[1:] == [made.name("2", "-r1")]
    assert (
        made.cloud.requests[made.name("2")]["CheckpointConfig"]
        == (made.cloud.requests[made.name("2", "-r1")]["CheckpointConfig"])
    )
    made.becomes("2", status, stage, words, suffix="-r1")
    assert made.look()["2"].phase is Phase.gone
    assert made.cloud.started[2:] == []


def test_a_time_limit_that_came_before_anything_was_saved_is_a_failure(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.says("2", Ended.stopped, f"SIGTERM came {NOTHING_SAVED}")
    made.becomes("2", "Stopped", "MaxRuntimeExceeded")
    made.look()
    assert made.ended("2")[0] == "failed"
    assert "a longer hydra.launcher.time" in (made.ended("2")[1] or "")


@pytest.mark.parametrize(
    ("before", "status", "words", "after"),
    [
        (Ended.running, "Stopped", "", ("cancelled", "cancelled (stopped in SageMaker)")),
        (Ended.stopped, "Stopped", "", ("cancelled", "cancelled (stopped in SageMaker)")),
        (Ended.running, "Failed", "exit code: 137", ("failed", "exit code: 137; a last line")),
        (Ended.stopped, "Failed", "exit code: 75", ("stopped", None)),
        (Ended.failed, "Failed", "exit code: 1", ("failed", None)),
        (Ended.ok, "Completed", "", ("ok", None)),
    ],
)
def test_the_verdict_depends_on_what_was_known(make, before, status, words, after):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.cloud.printed[made.name("2")] = "a line\na last line\n"
    made.says("2", before)
    made.becomes("2", status, words=words)
    made.look()
    assert made.ended("2") == after


def test_an_image_that_cannot_be_pulled_is_said_in_sagemakers_words(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.becomes("2", "Failed", words="ClientError: Cannot pull the image")
    made.look()
    assert made.ended("2") == ("failed", "ClientError: Cannot pull the image")


def test_cancelling_ends_what_runs_and_its_own_word_does_not_come_after_it(make):
    made = make(poll=0.1)
    made.launcher.submit(made.sweep.jobs)
    made.becomes("2", "InProgress", "Training")
    made.says("2", Ended.stopped, "stopped after step 3")
    made.launcher.cancel(made.sweep.jobs)
    made.look()
    assert {made.ended(key) for key in made.jobs} == {("cancelled", "cancelled by hand")}
    assert made.cloud.stopped == [made.name("sft"), made.name("2")]
    assert made.cloud.started == [made.name("sft"), made.name("2")]


def test_a_job_that_is_handed_over_again_while_it_is_cancelled_is_ended_too(make):
    made = make(poll=0.1)
    made.launcher.submit([made.jobs["2"]])
    made.becomes("2", "InProgress", "Training")
    made.says("2", Ended.stopped, "stopped after step 3")
    stop, other = made.cloud.stop, made.another()

    def comes_too_late(name: str) -> None:  # its time limit came just then, and somebody else looked
        made.cloud.stop = stop
        made.becomes("2", "Stopped", "MaxRuntimeExceeded")
        other.statuses(made.sweep.jobs)
        made.cloud.stopped.append(name)

    made.cloud.stop = comes_too_late
    made.launcher.cancel([made.jobs["2"]])
    assert made.cloud.started == made.cloud.stopped == [made.name("2"), made.name("2", "-r1")]
    assert made.ended("2") == ("cancelled", "cancelled by hand")


def test_what_is_over_is_looked_at_without_asking(make, monkeypatch):
    monkeypatch.setattr(home, "LATE", 0.0)
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.ends("2", Ended.ok)
    made.look()
    made.cloud.answers = False
    assert made.another().statuses(made.sweep.jobs)["2"].phase is Phase.gone
    with pytest.raises(LaunchError, match="does not answer"):
        made.launcher.submit([made.jobs["0"]])
