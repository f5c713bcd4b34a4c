"""An AWS account on this machine: moto's S3, CloudWatch, IAM and ECR, and a SageMaker of ours."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.launchers.sagemaker.fake import FakeSageMaker

REGION = "eu-central-1"
BUCKET = "experiments"
NUMBER = "123456789012"
ROLE = f"arn:aws:iam::{NUMBER}:role/rlpipe"
IMAGE = f"{NUMBER}.dkr.ecr.{REGION}.amazonaws.com/rlpipe:cpu"
SETTINGS = {"image": IMAGE, "role": ROLE, "bucket": BUCKET, "instance": "ml.m5.large", "gpus": 0, "price": 0.1}
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Account:
    """One account. `start` it, set `environment` for what talks to it, `stop` it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sagemaker."))

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        self.address = f"http://{host}:{port}"
        self.s3, self.logs = self.client("s3"), self.client("logs")
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it says every request
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.sagemaker = FakeSageMaker(self.folder, self.s3, self.logs)

    def client(self, service: str) -> Any:
        import boto3

        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, region_name=REGION, endpoint_url=self.address, **keys)

    @property
    def environment(self) -> dict[str, str]:
        ours = self.sagemaker.endpoint
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ENDPOINT_URL_SAGEMAKER": ours,
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS": ours,
        }

    def furnish(self) -> None:
        """Make the image and the role that `SETTINGS` names."""
        ecr = self.client("ecr")
        ecr.create_repository(repositoryName="rlpipe")
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}
        ecr.put_image(repositoryName="rlpipe", imageManifest=json.dumps(manifest), imageTag="cpu")
        trust = '{"Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}}]}'
        self.client("iam").create_role(RoleName="rlpipe", AssumeRolePolicyDocument=trust)

    def stop(self) -> None:
        self.sagemaker.close()
        self._moto.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
