"""A SageMaker of ours: training jobs are local processes, each in a machine of its own as far as it can see.

It is asked over HTTP, by boto3 as it is; S3 and CloudWatch are moto's. A container's command runs with /opt/ml
redirected to a new folder, in a mount namespace where the folders that are `hidden` are empty: what a job finds there
came through S3. Checkpoints go to S3 while it runs, deletions too, and are laid out again after an interruption.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SYNC = 1.0
"""Seconds between two looks at what is to go to S3."""
GROUP = "/aws/sagemaker/TrainingJobs"


@cache
def namespaces() -> list[str] | None:
    """Return the command by which a process gets mounts of its own here, None where none is allowed to."""
    for command in (["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"]):
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            return None
    return None


@dataclass
class Container:
    """A training job."""

    asked: dict[str, Any]
    status: str = "InProgress"
    stage: str = "Starting"
    reason: str = ""
    process: subprocess.Popen[bytes] | None = None
    stopped: str = ""
    """How it ends when it is asked to: `Stopped`, `MaxRuntimeExceeded`, `Interrupted`."""
    asked_at: float = 0.0
    machines: int = 0
    known: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.asked["TrainingJobName"])


class FakeSageMaker:
    """Takes training jobs at `endpoint` and runs them in `folder`."""

    def __init__(self, folder: Path, s3: Any, logs: Any, grace: float = 120.0):
        self.folder, self.s3, self.logs, self.grace = folder, s3, logs, grace
        self.containers: dict[str, Container] = {}
        self.hidden: list[Path] = []
        self.quotas: dict[str, float] = {}
        self.silent = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        for one in self.containers.values():
            if one.process is not None and one.process.poll() is None:
                one.stopped = one.stopped or "Stopped"
                os.killpg(one.process.pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join(30)
        self._server.shutdown()
        self._server.server_close()

    def interrupt(self, name: str) -> None:
        """Take a job's machine away, as a spot interruption does; the job gets another."""
        self._ask(self.containers[name], "Interrupted")

    # -- what it is asked

    def CreateTrainingJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["TrainingJobName"]
        with self._lock:
            if name in self.containers:
                raise Refuses("ResourceInUse", "Training job names must be unique within an AWS account and region")
            self.containers[name] = one = Container(asked)
        thread = threading.Thread(target=self._run, args=(one,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return {"TrainingJobArn": f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{name}"}

    def ListTrainingJobs(self, asked: dict[str, Any]) -> dict[str, Any]:
        named = [one for one in self.containers.values() if asked["NameContains"] in one.name]
        rows = [
            {
                "TrainingJobName": one.name,
                "TrainingJobArn": f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{one.name}",
                "CreationTime": 0,
                "TrainingJobStatus": one.status,
            }
            for one in named
        ]
        return {"TrainingJobSummaries": rows}

    def DescribeTrainingJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.containers[asked["TrainingJobName"]]
        return {
            "TrainingJobName": one.name,
            "TrainingJobStatus": one.status,
            "SecondaryStatus": one.stage,
            "ResourceConfig": one.asked["ResourceConfig"],
            **({"FailureReason": one.reason} if one.reason else {}),
        }

    def StopTrainingJob(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.containers[asked["TrainingJobName"]]
        if one.status != "InProgress":
            raise Refuses("ValidationException", "The request was rejected because the training job is in status …")
        one.status, one.stage = "Stopping", "Stopping"
        self._ask(one, "Stopped")
        return {}

    def ListServiceQuotas(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"Quotas": [{"QuotaName": name, "Value": value} for name, value in self.quotas.items()]}

    # -- what it does

    def _ask(self, one: Container, how: str) -> None:
        with self._lock:
            if one.stopped:
                return
            one.stopped, one.asked_at = how, time.monotonic()
            if one.process is not None and one.process.poll() is None:
                one.process.send_signal(signal.SIGTERM)

    def _run(self, one: Container) -> None:
        while True:
            code = self._attempt(one)
            if one.stopped != "Interrupted":
                break
            one.stage, one.stopped = "Interrupted", ""
        if one.stopped:
            one.status, one.stage = "Stopped", one.stopped
        elif code == 0:
            one.status, one.stage = "Completed", "Completed"
        else:
            one.status, one.stage, one.reason = "Failed", "Failed", f"AlgorithmError: , exit code: {code}"

    def _attempt(self, one: Container) -> int:
        """Run a job's container on a new machine until it ends; return its exit code."""
        machine = self.folder / f"{one.name}.{one.machines}"
        one.machines += 1
        base, checkpoints = machine / "ml", machine / "ml" / "checkpoints"
        one.stage = "Downloading"
        self._bring(one, base)
        with self._lock:
            if one.stopped:
                return 0
            one.process = self._start(one, machine, base)
            one.stage = "Training"
        limit = time.monotonic() + one.asked["StoppingCondition"]["MaxRuntimeInSeconds"]
        position, code = 0, None
        while code is None:
            time.sleep(SYNC)
            code = one.process.poll()
            self._sync(one, checkpoints)
            position = self._print(one, machine / "output", position)
            if time.monotonic() > limit:
                self._ask(one, "MaxRuntimeExceeded")
            if one.stopped and code is None and time.monotonic() - one.asked_at > self.grace:
                os.killpg(one.process.pid, signal.SIGKILL)
        shutil.rmtree(machine)
        return code if code >= 0 else 128 - code

    def _bring(self, one: Container, base: Path) -> None:
        """Lay out the input and the checkpoints of a job."""
        for channel in one.asked["InputDataConfig"]:
            source = channel["DataSource"]["S3DataSource"]
            assert source["S3DataType"] == "ManifestFile"
            bucket, key = _split(source["S3Uri"])
            prefix, *names = json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            bucket, start = _split(prefix["prefix"])
            folder = base / "input" / "data" / channel["ChannelName"]
            folder.mkdir(parents=True)
            for name in names:
                self.s3.download_file(bucket, start + name, str(folder / name))
        bucket, start = _split(one.asked["CheckpointConfig"]["S3Uri"])
        one.known.clear()
        (base / "checkpoints").mkdir(parents=True)
        for row in self.s3.list_objects_v2(Bucket=bucket, Prefix=f"{start}/").get("Contents", []):
            file = base / "checkpoints" / row["Key"].removeprefix(f"{start}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            self.s3.download_file(bucket, row["Key"], str(file))
            one.known[str(file.relative_to(base / "checkpoints"))] = _state(file)

    def _start(self, one: Container, machine: Path, base: Path) -> subprocess.Popen[bytes]:
        said = one.asked["AlgorithmSpecification"]
        command = [*said["ContainerEntrypoint"], *said["ContainerArguments"]]
        command = [part.replace("/opt/ml", str(base)) for part in command]
        mounts = []
        for number, folder in enumerate(self.hidden):
            own = machine / f"disk{number}"
            own.mkdir()
            folder.mkdir(parents=True, exist_ok=True)
            mounts.append(f"mount --bind '{own}' '{folder}'")
        prefix = namespaces()
        assert prefix is not None
        text = " && ".join([*mounts, 'exec "$@"'])
        with open(machine / "output", "wb") as output:
            return subprocess.Popen(
                [*prefix, "sh", "-c", text, "sh", *command],
                cwd="/",
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _sync(self, one: Container, checkpoints: Path) -> None:
        """Bring what is new or changed to S3, and delete there what is gone."""
        bucket, start = _split(one.asked["CheckpointConfig"]["S3Uri"])
        found = {}
        for file in _files(checkpoints):
            name = str(file.relative_to(checkpoints))
            try:
                state = found[name] = _state(file)
                if one.known.get(name) != state:
                    self.s3.put_object(Bucket=bucket, Key=f"{start}/{name}", Body=file.read_bytes())
            except FileNotFoundError:
                found.pop(name, None)
        for name in one.known.keys() - found.keys():
            self.s3.delete_object(Bucket=bucket, Key=f"{start}/{name}")
        one.known = found

    def _print(self, one: Container, output: Path, position: int) -> int:
        """Bring what was printed since to CloudWatch, in whole lines."""
        text = output.read_bytes()[position:]
        whole = text.rpartition(b"\n")[0]
        if not whole:
            return position
        stream = f"{one.name}/algo-1-1"
        if not position:
            self._make_stream(stream)
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": line or " "} for line in whole.decode(errors="replace").split("\n")]
        self.logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)
        return position + len(whole) + 1

    def _make_stream(self, stream: str) -> None:
        there = self.logs.exceptions.ResourceAlreadyExistsException
        with suppress(there):
            self.logs.create_log_group(logGroupName=GROUP)
        with suppress(there):
            self.logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                action = self.headers["X-Amz-Target"].partition(".")[2]
                try:
                    if fake.silent:
                        raise Refuses("ThrottlingException", "Rate exceeded")
                    self._answer(200, getattr(fake, action)(asked))
                except Refuses as error:
                    self._answer(400, {"__type": error.code, "message": str(error)})

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


class Refuses(Exception):
    """What AWS answers when it says no."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def _split(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.netloc, parts.path.lstrip("/")


def _files(folder: Path) -> Sequence[Path]:
    found: list[Path] = []
    for place, _, names in os.walk(folder):
        found += [Path(place, name) for name in names]
    return found


def _state(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_mtime_ns, state.st_size
