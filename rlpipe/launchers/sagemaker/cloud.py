"""Asking AWS. All that it refuses becomes one of two errors, which say what to do."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import NoAnswer, Refused

AT = "hydra.launcher"
TIMEOUT = 60
"""Seconds after which a question to AWS counts as unanswered."""
EXTRA = "pip install 'rlpipe[sagemaker]'"
_CREDENTIALS = "aws configure, aws sso login, or $AWS_PROFILE: `aws sts get-caller-identity` must say who you are"
_RIGHTS = "give whoever submits the rights that docs/sagemaker.md lists"
_AGAIN = "try again when AWS answers: https://health.aws.amazon.com"

_SILENT = (
    *("Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"),
    *("InternalFailure", "InternalServerError", "InternalError", "ServiceUnavailable", "ServiceUnavailableException"),
    *("500", "502", "503", "504"),
)
"""Codes of errors that pass by themselves."""
_UNKNOWN = (
    *("UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException"),
    *("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "IncompleteSignature", "InvalidToken"),
)
"""Codes that say that AWS does not know, or know any more, who asks."""
_REFUSALS = (  # code, a pattern of its words, the field, what to do
    (
        *("ResourceLimitExceeded", "", "instance"),
        "ask for a higher limit: AWS console, Service Quotas, Amazon SageMaker, under the name that it gives; or "
        "another instance, or hydra.launcher.throttle",
    ),
    (
        *("ValidationException", r"(?i)image|\.dkr\.ecr\.", "image"),
        "push the image, in this region, and give its whole address with the tag",
    ),
    (
        *("ValidationException", r"(?i)assume|\brole\b", "role"),
        "give the ARN of a role that SageMaker may take on (its trust policy names sagemaker.amazonaws.com) and that "
        "has the rights that docs/sagemaker.md lists",
    ),
    ("ValidationException", r"(?i)s3|bucket", "bucket", "give a bucket of this region that the role may use"),
    ("ValidationException", r"(?i)instance", "instance", "give an instance of this region, like ml.g5.xlarge"),
    ("NoSuchBucket", "", "bucket", "make it: aws s3 mb s3://NAME; or name another"),
    ("PermanentRedirect", "", "bucket", "the bucket is in another region: name it by hydra.launcher.region"),
    ("AccessDenied", "", "", _RIGHTS),
    ("AccessDeniedException", "", "", _RIGHTS),
    ("403", "", "", _RIGHTS),
)


class RefusedByAWS(Refused):
    """AWS itself said no."""

    code = ""
    """Its own word for why."""


class Cloud:
    """AWS in one region, as the profile in use sees it."""

    def __init__(self, region: str | None):
        """Take the region; None for the profile's own."""
        self._region = region
        self._clients: dict[str, Any] = {}

    @cached_property
    def _session(self) -> Any:
        import boto3

        logging.getLogger("botocore").setLevel(logging.WARNING)  # it says where it found whose credentials
        return boto3.Session(region_name=self._region)

    @property
    def region(self) -> str:
        """The region. Raises Refused where none is named."""
        with self.answers():
            region = self._session.region_name
        if region is None:
            raise Refused(f"{AT}.region", "no region is named", f"{AT}.region=eu-central-1, or $AWS_DEFAULT_REGION")
        return str(region)

    @property
    def account(self) -> str:
        """The number of the account. Raises NoAnswer and Refused."""
        with self.answers():
            return str(self.client("sts").get_caller_identity()["Account"])

    def client(self, service: str, region: str | None = None) -> Any:
        """Return boto3's client of a service. Raises Refused where boto3 or the region is missing."""
        if service not in self._clients:
            from botocore.config import Config

            retries = {"mode": "standard", "max_attempts": 5}
            config = Config(connect_timeout=10, read_timeout=TIMEOUT, retries=retries)
            region = region or self.region
            self._clients[service] = self._session.client(service, region_name=region, config=config)
        return self._clients[service]

    @contextmanager
    def answers(self, where: str = "AWS") -> Iterator[None]:
        """Turn what boto3 raises in the body into NoAnswer and Refused; `where` is the field that was asked about."""
        if importlib.util.find_spec("boto3") is None:
            raise Refused("hydra/launcher=sagemaker", "boto3 is not installed here", EXTRA)
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        try:
            yield
        except ClientError as error:
            raise refusal(error.response, where, error.operation_name) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise Refused("AWS", _line(error), _CREDENTIALS) from error
        except (BotoCoreError, Boto3Error) as error:
            raise _own(error, where) from error


def refusal(response: dict[str, Any], where: str, operation: str) -> LaunchError:
    """Return the error that an answer of AWS stands for, in its own words."""
    code, message = response["Error"].get("Code", ""), response["Error"].get("Message", "").strip()
    words = f"{message or 'refused'} ({operation}: {code})"
    if code in _SILENT:
        return NoAnswer(where, words, _AGAIN)
    fix = "fix what it names"
    if code in _UNKNOWN:
        where, fix = "AWS", _CREDENTIALS
    for known, pattern, field, advice in _REFUSALS:
        if code == known and re.search(pattern, message):
            where, fix = f"{AT}.{field}" if field else where, advice
            break
    refused = RefusedByAWS(where, words, fix)
    refused.code = code
    return refused


def _own(error: Exception, where: str) -> LaunchError:
    """Return what an error of boto3's own stands for: that nobody answers, or that its configuration is wrong."""
    from botocore.exceptions import (
        ConnectionError,
        HTTPClientError,
        ParamValidationError,
        SSOError,
        TokenRetrievalError,
        UnauthorizedSSOTokenError,
    )

    words = _line(error)
    if isinstance(error, (SSOError, TokenRetrievalError, UnauthorizedSSOTokenError)):
        return Refused("AWS", words, _CREDENTIALS)
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return NoAnswer(where, words, "is this machine on the network, and hydra.launcher.region a region of AWS?")
    if isinstance(error, ParamValidationError):
        return Refused(where, " ".join(str(error).split()), f"fix what it names, in {AT}.extra or the field itself")
    return Refused(where, words, "fix what it names")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
