"""What speaks against a submission is told before anything is submitted, all of it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlpipe.core.errors import Problem
from rlpipe.launchers.base import NoAnswer, Refused
from rlpipe.launchers.sagemaker.launcher import SageMakerLauncher
from tests.launchers.sagemaker.account import IMAGE

TRUST = {"Statement": [{"Principal": {"Service": "sagemaker.amazonaws.com"}}]}


class Answers:
    """A client of AWS that answers what it is told to; an answer may be an error, by its code."""

    def __init__(self, **answers: Any):
        self.answers = answers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(**asked: Any) -> Any:
            from botocore.exceptions import ClientError

            found = self.answers[name]
            if isinstance(found, str):
                raise ClientError({"Error": {"Code": found, "Message": f"{asked}"}}, name)
            return found

        return answer

    def get_paginator(self, name: str) -> Answers:
        return Answers(paginate=[getattr(self, name)()])


def quota(value: float, name: str = "ml.m5.large for training job usage") -> dict[str, Any]:
    return {"Quotas": [{"QuotaName": name, "Value": value}]}


def told(made: Any, **answers: Any) -> dict[str, Problem]:
    """Return the problems of a sweep by field, where AWS answers well but for what is given."""
    good: dict[str, Any] = {
        "get_caller_identity": {"Account": "123456789012"},
        "head_bucket": {},
        "describe_images": {},
        "get_role": {"Role": {"AssumeRolePolicyDocument": TRUST}},
        "list_service_quotas": quota(2),
    }
    client = Answers(**(good | answers))
    launcher: SageMakerLauncher = made.another()
    launcher.cloud._clients |= dict.fromkeys(("sts", "s3", "ecr", "iam", "service-quotas"), client)
    return {one.where.removeprefix("hydra.launcher."): one for one in launcher.problems()}


def test_what_the_account_has_is_no_problem(make):
    assert told(make()) == {}


def test_settings_that_make_no_sense_are_all_told_at_once(make):
    made = make(
        image=None, role="rlpipe", instance="g5.xlarge", time="soon", spot_wait="40-0", volume=0, files=["gone"]
    )
    found = told(made)
    fatal = {name for name, one in found.items() if one.fatal}
    assert fatal == {"image", "role", "instance", "time", "spot_wait", "volume", "files"}
    assert "28 days" in str(found["spot_wait"])


@pytest.mark.parametrize(
    ("settings", "where", "fatal", "words"),
    [
        ({"gpus": 1}, "gpus", True, "ml.m5.large has no GPU"),
        ({"instance": "ml.g5.xlarge"}, "gpus", False, "has GPUs, which a job would not use"),
        ({"time": "3"}, "time", False, "a job would hardly begin"),
        ({"image": "rlpipe:cuda"}, "image", True, "is not in ECR"),
        ({"image": IMAGE.replace("eu-central-1", "us-east-1")}, "image", True, "it is in us-east-1, and jobs run in"),
        ({"throttle": 3}, "instance", False, "the account may have 2 of 'ml.m5.large for training job usage', and 3"),
    ],
)
def test_a_setting_that_does_not_fit_is_told(make, settings, where, fatal, words):
    (found,) = told(make(**settings)).items()
    assert (found[0], found[1].fatal) == (where, fatal)
    assert words in found[1].what


@pytest.mark.parametrize(
    ("answers", "where", "fatal", "words"),
    [
        ({"head_bucket": "404"}, "bucket", True, "aws s3 mb s3://experiments --region eu-central-1"),
        ({"head_bucket": "403"}, "bucket", True, "docs/sagemaker.md"),
        ({"describe_images": "ImageNotFoundException"}, "image", True, f"docker push {IMAGE}"),
        ({"describe_images": "AccessDeniedException"}, "image", False, "docs/sagemaker.md"),
        ({"get_role": "NoSuchEntity"}, "role", True, "there is no role rlpipe"),
        ({"get_role": "AccessDenied"}, "role", False, "docs/sagemaker.md"),
        ({"get_role": {"Role": {"AssumeRolePolicyDocument": {}}}}, "role", True, "its trust policy does not name"),
        ({"list_service_quotas": quota(0)}, "instance", True, "Service Quotas"),
        ({"list_service_quotas": "AccessDeniedException"}, "instance", False, "docs/sagemaker.md"),
    ],
)
def test_what_the_account_lacks_is_told(make, answers, where, fatal, words):
    (found,) = told(make(), **answers).items()
    assert (found[0], found[1].fatal) == (where, fatal)
    assert words in str(found[1])


def test_spare_capacity_has_a_quota_of_its_own(make):
    none = quota(0, "ml.m5.large for spot training job usage")
    made = make()
    assert told(made, list_service_quotas=none) == {}
    made.sweep.data["settings"]["spot"] = True
    assert "instance" in told(made, list_service_quotas=none)


def test_arms_that_would_look_at_each_other_are_refused(make):
    made = make()
    made.sweep.data["asha"] = {"reduction": 3}
    (problem,) = told(made).values()
    assert (problem.where, problem.fatal) == ("hydra/sweeper", True)


@pytest.mark.parametrize("error", [NoAnswer("AWS", "silent", "again"), Refused("AWS", "who?", "aws configure")])
def test_without_an_account_what_can_be_told_is(make, monkeypatch, error):
    made = make(time="soon")

    def account(self: object) -> str:
        raise error

    monkeypatch.setattr("rlpipe.launchers.sagemaker.cloud.Cloud.account", property(account))
    assert {one.where for one in made.launcher.problems()} == {"hydra.launcher.time", "AWS"}
