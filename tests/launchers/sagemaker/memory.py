"""S3 and SageMaker as dictionaries, for tests that say what becomes of jobs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlpipe.launchers.base import NoAnswer
from rlpipe.launchers.sagemaker.jobs import Read, TrainingJob


class FakeS3:
    """What of boto3's client of S3 is used, over one bucket."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.uploads: list[str] = []

    def head_bucket(self, Bucket: str) -> None:
        pass

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self._there(Key, "404")
        return {}

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:
        self.uploads.append(Key)
        self.content[Key] = Body

    def upload_file(self, file: str, bucket: str, key: str) -> None:
        self.put_object(bucket, key, Path(file).read_bytes())

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self._there(Key, "NoSuchKey")
        return {"Body": io.BytesIO(self.content[Key])}

    def download_file(self, bucket: str, key: str, file: str) -> None:
        self._there(key, "404")
        Path(file).write_bytes(self.content[key])

    def get_paginator(self, name: str) -> FakeS3:
        assert name == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str) -> list[dict[str, Any]]:
        rows = {key: content for key, content in self.content.items() if key.startswith(Prefix)}
        return [{"Contents": [{"Key": key, "ETag": hashlib.md5(one).hexdigest()} for key, one in rows.items()]}]

    def _there(self, key: str, code: str) -> None:
        from botocore.exceptions import ClientError

        if key not in self.content:
            raise ClientError({"Error": {"Code": code, "Message": "Not Found"}}, "GetObject")


class FakeJobs:
    """What `rlpipe.launchers.sagemaker.jobs.Jobs` asks, with SageMaker's rule that a name is taken once."""

    def __init__(self) -> None:
        self.known: dict[str, TrainingJob] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.stopped: list[str] = []
        self.printed: dict[str, str] = {}
        self.answers = True

    @property
    def started(self) -> list[str]:
        return list(self.requests)

    def named(self, prefix: str) -> dict[str, TrainingJob]:
        if not self.answers:
            raise NoAnswer("AWS", "does not answer", "try again")
        return {name: job for name, job in self.known.items() if name.startswith(prefix)}

    def start(self, request: dict[str, Any]) -> bool:
        name = request["TrainingJobName"]
        if name in self.known:
            return False
        self.known[name] = TrainingJob("InProgress", "Starting")
        self.requests[name] = request
        return True

    def stop(self, name: str) -> None:
        self.stopped.append(name)
        self.known[name] = TrainingJob("Stopped", "Stopped")

    def lines(self, name: str, read: dict[str, Read]) -> Iterator[tuple[str, str, Read]]:
        text = self.printed.get(name, "")[read.get(name, Read(0, 0)).events :]
        if text:
            yield name, text, Read(0, len(self.printed[name]))
