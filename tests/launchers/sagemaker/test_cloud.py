"""What AWS refuses, and what to do about it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import NoAnswer, Refused
from rlpipe.launchers.sagemaker.cloud import Cloud
from rlpipe.launchers.sagemaker.jobs import Jobs, Read

REQUEST = {
    "TrainingJobName": "rlpipe-1",
    "RoleArn": "arn:aws:iam::123456789012:role/rlpipe",
    "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
    "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}


@pytest.fixture(scope="module")
def client() -> Any:
    """Return boto3's client, which is slow to make; each test stubs it for itself."""
    boto3 = pytest.importorskip("boto3")
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return boto3.client("sagemaker", region_name="eu-central-1", **keys)


@pytest.fixture
def stubbed(client: Any) -> Iterator[tuple[Jobs, Any]]:
    from botocore.stub import Stubber

    cloud = Cloud("eu-central-1")
    cloud._clients["sagemaker"] = client
    with Stubber(client) as stubber:
        yield Jobs(cloud), stubber


@pytest.mark.parametrize(
    ("code", "message", "where", "fix"),
    [
        (
            "ResourceLimitExceeded",
            "The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances, with current "
            "utilization of 0 Instances and a request delta of 1 Instances.",
            "hydra.launcher.instance",
            "Service Quotas",
        ),
        (
            "ValidationException",
            "Requested image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/rlpipe:cuda not found.",
            "hydra.launcher.image",
            "push the image",
        ),
        (
            "ValidationException",
            "Could not assume role arn:aws:iam::123456789012:role/rlpipe. Please ensure that the role exists and "
            "allows principal 'sagemaker.amazonaws.com' to assume the role.",
            "hydra.launcher.role",
            "its trust policy names sagemaker.amazonaws.com",
        ),
        (
            "ValidationException",
            "The specified S3 bucket does not exist.",
            "hydra.launcher.bucket",
            "give a bucket of this region",
        ),
        ("ValidationException", "1 validation error detected: 'x'", "hydra.launcher", "fix what it names"),
        (
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/me is not authorized to perform: sagemaker:CreateTrainingJob",
            "hydra.launcher",
            "docs/sagemaker.md",
        ),
        ("ExpiredTokenException", "The security token included in the request is expired", "AWS", "aws sso login"),
    ],
)
def test_a_refusal_says_which_field_and_what_to_do(stubbed, code, message, where, fix):
    jobs, stubber = stubbed
    stubber.add_client_error("create_training_job", code, message)
    with pytest.raises(Refused) as refused:
        jobs.start(dict(REQUEST))
    assert refused.value.where == where
    assert message in refused.value.what
    assert fix in refused.value.fix


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalFailure", "ServiceUnavailable"])
def test_what_passes_by_itself_is_no_refusal(stubbed, code):
    jobs, stubber = stubbed
    stubber.add_client_error("list_training_jobs", code, "Rate exceeded")
    with pytest.raises(NoAnswer):
        jobs.named("rlpipe-")


def test_a_name_that_is_taken_is_another_s_submission_and_a_job_that_has_ended_is_not_stopped(stubbed):
    jobs, stubber = stubbed
    stubber.add_client_error("create_training_job", "ResourceInUse", "Training job names must be unique")
    stubber.add_client_error("stop_training_job", "ValidationException", "the training job is in status Completed")
    assert jobs.start(dict(REQUEST)) is False
    jobs.stop("rlpipe-1")


def test_a_request_that_boto3_itself_refuses_names_the_key(stubbed):
    jobs, stubber = stubbed
    stubber.add_response("create_training_job", {"TrainingJobArn": "arn:aws:sagemaker:e:123456789012:training-job/r"})
    with pytest.raises(Refused, match=r"StoppingCondition\.MaxRuntimeInSeconds") as refused:
        jobs.start({**REQUEST, "StoppingCondition": {"MaxRuntimeInSeconds": "soon"}})
    assert "hydra.launcher.extra" in refused.value.fix


def test_jobs_are_described_until_they_have_ended(stubbed):
    jobs, stubber = stubbed
    row = {"TrainingJobName": "rlpipe-1", "TrainingJobArn": "arn:aws:sagemaker:e:123456789012:training-job/r"}
    listed = {"TrainingJobSummaries": [{**row, "CreationTime": 0, "TrainingJobStatus": "InProgress"}]}
    seen = {**row, "ModelArtifacts": {"S3ModelArtifacts": ""}, "AlgorithmSpecification": {"TrainingInputMode": "File"}}
    seen |= {name: REQUEST[name] for name in ("ResourceConfig", "StoppingCondition")} | {"CreationTime": 0}
    for status, secondary in (("InProgress", "Training"), ("Failed", "Failed")):
        stubber.add_response("list_training_jobs", listed)
        more = {"FailureReason": "AlgorithmError: , exit code: 1"} if status == "Failed" else {}
        described = {**seen, **more, "TrainingJobStatus": status, "SecondaryStatus": secondary}
        stubber.add_response("describe_training_job", described)
    stubber.add_response("list_training_jobs", listed)
    assert jobs.named("rlpipe-")["rlpipe-1"].stage == "Training"
    assert [jobs.named("rlpipe-")["rlpipe-1"].words for _ in range(2)] == ["AlgorithmError: , exit code: 1"] * 2


class Log:
    """CloudWatch with one stream, of which a page has two events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def get_paginator(self, name: str) -> Log:
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        return [{"logStreams": [{"logStreamName": "rlpipe-1/algo-1"}]}]

    def get_log_events(self, nextToken: str = "", startTime: int = 0, **asked: Any) -> dict[str, Any]:
        first = int(nextToken or next((i for i, one in enumerate(self.events) if one["timestamp"] >= startTime), 0))
        return {"events": self.events[first : first + 2], "nextForwardToken": str(min(first + 2, len(self.events)))}

    def prints(self, time: int, *lines: str) -> None:
        self.events += [{"timestamp": time, "message": line} for line in lines]


def test_a_log_is_read_on_from_where_it_was_read_to_whatever_came_at_one_time():
    pytest.importorskip("boto3")
    log, cloud = Log(), Cloud("eu-central-1")
    cloud._clients["logs"] = log
    read: dict[str, Read] = {}
    text = ""

    def more() -> None:
        nonlocal text
        for stream, page, far in Jobs(cloud).lines("rlpipe-1", dict(read)):
            text += page
            read[stream] = far

    more()
    for time, lines in ((1, "abc"), (2, "d"), (2, "ef"), (2, ""), (2, "ghi"), (3, "j")):
        log.prints(time, *lines)
        more()
    assert text == "".join(f"{one}\n" for one in "abcdefghij")


@pytest.mark.parametrize(
    ("raised", "error", "fix"),
    [
        ("NoCredentialsError", Refused, "aws configure"),
        ("UnauthorizedSSOTokenError", Refused, "aws sso login"),
        ("EndpointConnectionError", NoAnswer, "is this machine on the network"),
        ("ReadTimeoutError", NoAnswer, "is this machine on the network"),
        ("ProfileNotFound", Refused, "fix what it names"),
    ],
)
def test_what_boto3_says_by_itself_is_told_too(raised, error, fix):
    exceptions = pytest.importorskip("botocore.exceptions")
    parts = {"endpoint_url": "https://x", "profile": "p"}
    with pytest.raises(error) as told, Cloud("eu-central-1").answers():
        raise getattr(exceptions, raised)(**parts)
    assert fix in told.value.fix


def test_without_boto3_and_without_a_region_it_is_said(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(LaunchError, match=r"boto3 is not installed here[\s\S]*pip install 'rlpipe\[sagemaker\]'"):
            _ = Cloud(None).account
    pytest.importorskip("boto3")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")  # which other tools of AWS read, and boto3 does not
    with pytest.raises(LaunchError, match=r"no region is named"):
        _ = Cloud(None).region
