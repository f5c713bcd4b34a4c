"""What speaks against a submission, found before anything is submitted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rlpipe.config.launchers import SageMakerConfig
from rlpipe.config.ranges import out_of_range
from rlpipe.core.errors import LaunchError, Problem
from rlpipe.launchers.base import Refused
from rlpipe.launchers.sagemaker.bucket import Bucket
from rlpipe.launchers.sagemaker.cloud import AT, Cloud, RefusedByAWS
from rlpipe.launchers.sagemaker.queue import LONGEST
from rlpipe.launchers.units import seconds
from rlpipe.records.sweep import Sweep

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_INSTANCE = re.compile(r"ml\.([a-z]+)[a-z0-9-]*\.[a-z0-9]+")
_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^:@]+)(?::([^@]+))?(?:@(.+))?")
_WITH_GPU = ("g", "p")
"""How families of instances begin that have GPUs."""
SHORTEST = 300
"""Seconds of a time limit below which a job would hardly begin: 120 of them are for saving."""


def problems(config: SageMakerConfig, cloud: Cloud, bucket: Bucket, sweep: Sweep) -> list[Problem]:
    """Return all that is wrong with a config of the launcher, and what the account lacks that a sweep needs.

    Asks AWS where it answers; what makes no sense is found without it.
    """
    found = [*_settings(config), *_times(config), *_sweep(sweep), *_files(config, sweep)]
    try:
        cloud.account  # noqa: B018 - whether anybody answers at all
    except LaunchError as error:
        return [*found, Problem(error.where, error.what, error.fix)]
    checks = [bucket.reach, lambda: _image(config, cloud), lambda: _role(config, cloud)]
    for check in checks:
        try:
            check()
        except LaunchError as error:
            found.append(Problem(error.where, error.what, error.fix, fatal=not _may_not_look(error)))
    return [*found, *_quota(config, cloud)]


def _settings(config: SageMakerConfig) -> Iterator[Problem]:
    yield from out_of_range(config, f"{AT}.")
    if config.image is None:
        fix = f"{AT}.image=ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG; docker/Dockerfile makes one"
        yield Problem(f"{AT}.image", "no image is named for jobs to run in", fix)
    if config.role is None or not _ROLE.fullmatch(config.role):
        what = "no role is named" if config.role is None else f"'{config.role}' is no role's ARN"
        yield Problem(f"{AT}.role", what, f"{AT}.role=arn:aws:iam::ACCOUNT:role/NAME; docs/sagemaker.md makes one")
    instance = _INSTANCE.fullmatch(config.instance)
    if instance is None:
        yield Problem(f"{AT}.instance", f"'{config.instance}' is no kind of instance", "give one like ml.g5.xlarge")
    elif not instance[1].startswith(_WITH_GPU) and config.gpus:
        yield Problem(f"{AT}.gpus", f"{config.instance} has no GPU", f"{AT}.gpus=0, or another {AT}.instance")
    elif instance[1].startswith(_WITH_GPU) and not config.gpus:
        what = f"{config.instance} has GPUs, which a job would not use and you would pay for"
        yield Problem(f"{AT}.gpus", what, f"{AT}.gpus=1, or another {AT}.instance", fatal=False)


def _times(config: SageMakerConfig) -> Iterator[Problem]:
    for name in ("time", "spot_wait"):
        value = getattr(config, name)
        try:
            limit = seconds(value)
        except ValueError as error:
            yield Problem(f"{AT}.{name}", str(error), "write it like `24:00:00`")
            continue
        if limit is None or limit > LONGEST:
            yield Problem(f"{AT}.{name}", f"{value} is longer than SageMaker's 28 days", "give 28-0 at most")
        elif name == "time" and limit < SHORTEST:
            what = f"{limit} s, of which 120 are for saving: a job would hardly begin"
            yield Problem(f"{AT}.time", what, "give at least 5 minutes", fatal=False)


def _sweep(sweep: Sweep) -> Iterator[Problem]:
    """Yield what arms cannot do that do not see each other's folders."""
    if sweep.data.get("asha"):
        what = "arms judge themselves by what others have measured, and on SageMaker they do not see each other"
        yield Problem("hydra/sweeper", what, "hydra/sweeper=grid, or tpe without prune; asha elsewhere")


def _files(config: SageMakerConfig, sweep: Sweep) -> Iterator[Problem]:
    for one in config.files:
        place = Path(sweep.data.get("cwd", "."), Path(one).expanduser())
        if not place.exists():
            yield Problem(f"{AT}.files", f"{place} is not there", "give paths of files and folders of this machine")


def _image(config: SageMakerConfig, cloud: Cloud) -> None:
    """Ask whether the image is there. Raises LaunchError."""
    if config.image is None:
        return
    found = _ECR.fullmatch(config.image)
    if found is None:
        fix = "push it to ECR, and give ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG"
        raise Refused(f"{AT}.image", f"{config.image} is not in ECR, from where SageMaker takes images", fix)
    account, region, name, tag, digest = found.groups()
    if region != cloud.region:
        fix = f"push it there too, or {AT}.region={region}"
        raise Refused(f"{AT}.image", f"it is in {region}, and jobs run in {cloud.region}", fix)
    which = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    try:
        with cloud.answers(f"{AT}.image"):
            cloud.client("ecr").describe_images(registryId=account, repositoryName=name, imageIds=[which])
    except RefusedByAWS as error:
        if "NotFound" in error.code:
            shows = f"aws ecr list-images --repository-name {name} shows what is there"
            fix = f"push it: docker push {config.image}; {shows}"
            raise Refused(error.where, error.what, fix) from error
        raise


def _role(config: SageMakerConfig, cloud: Cloud) -> None:
    """Ask whether the role is there, and SageMaker may take it on. Raises LaunchError."""
    if config.role is None or not _ROLE.fullmatch(config.role):
        return
    name = config.role.rpartition("/")[2]
    make = "make it as docs/sagemaker.md says"
    try:
        with cloud.answers(f"{AT}.role"):
            role = cloud.client("iam").get_role(RoleName=name)["Role"]
    except RefusedByAWS as error:
        if error.code == "NoSuchEntity":
            raise Refused(error.where, f"there is no role {name}", make) from error
        raise
    if "sagemaker.amazonaws.com" not in str(role.get("AssumeRolePolicyDocument")):
        what = f"SageMaker may not take on {name}: its trust policy does not name sagemaker.amazonaws.com"
        raise Refused(f"{AT}.role", what, make)


def _quota(config: SageMakerConfig, cloud: Cloud) -> Iterator[Problem]:
    """Yield that the account may not have as many instances as jobs would run at once."""
    name = f"{config.instance} for {'spot ' if config.spot else ''}training job usage"
    try:
        with cloud.answers(f"{AT}.instance"):
            pages = (
                cloud.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
            )
            allowed = [one["Value"] for page in pages for one in page["Quotas"] if one["QuotaName"] == name]
    except LaunchError as error:
        yield Problem(error.where, error.what, error.fix, fatal=False)
        return
    wanted = config.throttle or 1
    if allowed and allowed[0] < wanted:
        what = f"the account may have {allowed[0]:g} of '{name}', and {wanted} would run at once"
        fix = "ask for more: AWS console, Service Quotas, Amazon SageMaker; or give another instance"
        yield Problem(f"{AT}.instance", what, fix, fatal=not allowed[0])


def _may_not_look(error: LaunchError) -> bool:
    """Whether all that is wrong is that whoever submits may not see what the role of the jobs may well use."""
    return isinstance(error, RefusedByAWS) and error.code.startswith("AccessDenied") and error.where != f"{AT}.bucket"
