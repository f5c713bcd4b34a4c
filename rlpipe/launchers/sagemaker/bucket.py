"""Files in S3: by their content, once each, and folders that jobs have written there."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.config.launchers import SageMakerConfig
from rlpipe.core.files import explained, move, sha256
from rlpipe.launchers.base import Refused
from rlpipe.launchers.sagemaker.cloud import AT, Cloud, RefusedByAWS


@dataclass(frozen=True)
class Stored:
    """A file of a folder in the bucket."""

    key: str
    etag: str
    """What tells it from a later one with the same key."""


class Bucket:
    """What rlpipe keeps in a bucket, under the prefix."""

    def __init__(self, cloud: Cloud, config: SageMakerConfig):
        self.cloud, self.config = cloud, config
        self._there: set[str] = set()

    @functools.cached_property
    def name(self) -> str:
        """The bucket's name. Raises NoAnswer and Refused."""
        return self.config.bucket or f"sagemaker-{self.cloud.region}-{self.cloud.account}"

    @property
    def _client(self) -> Any:
        return self.cloud.client("s3")

    def key(self, *parts: str) -> str:
        """Return a key under the prefix."""
        return "/".join(part for part in (self.config.prefix.strip("/"), *parts) if part)

    def address(self, *parts: str) -> str:
        """Return the address of what lies under the prefix (`s3://…`)."""
        return f"s3://{self.name}/{self.key(*parts)}"

    def reach(self) -> None:
        """Ask whether the bucket is there and may be used. Raises NoAnswer and Refused."""
        try:
            with self.cloud.answers(f"{AT}.bucket"):
                self._client.head_bucket(Bucket=self.name)
        except RefusedByAWS as error:
            if error.code == "404":
                fix = f"make it: aws s3 mb s3://{self.name} --region {self.cloud.region}; or name another"
                raise Refused(error.where, f"there is no bucket {self.name}", fix) from error
            raise

    def keep(self, file: Path) -> str:
        """Put a file there, unless its content is there; return its SHA-256. Raises LaunchError and RecordError."""
        with explained(file, "read"):
            state = file.stat()
            digest = _sha256(str(file.resolve()), state.st_size, state.st_mtime_ns)
        if not self._has(digest):
            with self.cloud.answers(f"{AT}.bucket"):
                self._client.upload_file(str(file), self.name, self.key("content", digest))
            self._there.add(digest)
        return digest

    def keep_bytes(self, content: bytes) -> str:
        """Put content there, unless it is there; return its SHA-256. Raises LaunchError."""
        digest = hashlib.sha256(content).hexdigest()
        if not self._has(digest):
            self.put(content, "content", digest)
            self._there.add(digest)
        return digest

    def put(self, content: bytes, *parts: str) -> str:
        """Write content under a key, and return its address. Raises LaunchError."""
        with self.cloud.answers(f"{AT}.bucket"):
            self._client.put_object(Bucket=self.name, Key=self.key(*parts), Body=content)
        return self.address(*parts)

    def manifest(self, digests: list[str], *parts: str) -> str:
        """Write, under a key, which contents a job gets, as SageMaker reads it; return its address."""
        content = [{"prefix": f"{self.address('content')}/"}, *sorted(digests)]
        return self.put(json.dumps(content).encode(), *parts)

    def files(self, *parts: str) -> dict[str, Stored]:
        """Return the files of a folder, by their paths inside it. Raises LaunchError."""
        folder = f"{self.key(*parts)}/"
        found = {}
        with self.cloud.answers(f"{AT}.bucket"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=folder)
            for page in pages:
                for one in page.get("Contents", []):
                    path = one["Key"].removeprefix(folder)
                    if path and not path.endswith("/"):
                        found[path] = Stored(one["Key"], one["ETag"])
        return found

    def fetch(self, stored: Stored, file: Path) -> bool:
        """Bring a file here, whole or not at all; False where it is gone there. Raises LaunchError and RecordError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.s3")
        try:
            with self.cloud.answers(f"{AT}.bucket"):
                self._client.download_file(self.name, stored.key, str(new))
        except RefusedByAWS as error:
            if error.code == "404":  # its job has deleted or renamed it since
                return False
            raise
        move(new, file)
        return True

    def holds(self, stored: Stored, words: bytes) -> bool:
        """Whether a small file holds some words; False where it is gone. Raises LaunchError."""
        try:
            with self.cloud.answers(f"{AT}.bucket"):
                return words in self._client.get_object(Bucket=self.name, Key=stored.key)["Body"].read()
        except RefusedByAWS as error:
            if error.code == "NoSuchKey":
                return False
            raise

    def _has(self, digest: str) -> bool:
        if digest in self._there:
            return True
        try:
            with self.cloud.answers(f"{AT}.bucket"):
                self._client.head_object(Bucket=self.name, Key=self.key("content", digest))
        except RefusedByAWS as error:
            if error.code != "404":
                raise
            return False
        self._there.add(digest)
        return True


@functools.lru_cache(maxsize=4096)
def _sha256(path: str, size: int, time: int) -> str:
    return sha256(Path(path))
