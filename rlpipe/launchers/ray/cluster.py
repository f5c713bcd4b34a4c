"""Asking Ray: its jobs and nodes, handing it a job, ending one. All that can go wrong becomes two errors."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from rlpipe.launchers.base import NoAnswer, Phase, Refused

TIMEOUT = 60.0
"""Seconds after which a question to Ray counts as unanswered."""
_PHASES = {"PENDING": Phase.queued, "RUNNING": Phase.running}


@dataclass(frozen=True)
class RayJob:
    """One job as Ray shows it."""

    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str = ""
    error: str = ""
    """The kind of its failure, in Ray's word (`JOB_SUPERVISOR_ACTOR_DIED`)."""
    exit_code: int | None = None
    place: str = ""
    """The address of the node that it runs on."""

    @property
    def phase(self) -> Phase:
        """Whether it waits, runs or has ended."""
        return _PHASES.get(self.status, Phase.gone)

    @property
    def waits_for(self) -> str:
        """Why it waits."""
        return "waits for resources of the cluster"


@dataclass(frozen=True)
class Node:
    """What one node has, by Ray's names (`CPU`, `GPU`, `memory` in bytes, and resources of the cluster's own)."""

    address: str
    resources: Mapping[str, float]


class Cluster:
    """One Ray cluster, which is asked through its dashboard."""

    def __init__(self, address: str | None):
        """Take the cluster's address; None for `$RAY_ADDRESS`, else the head on this machine."""
        self.address = address

    @cached_property
    def _client(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        class Client(JobSubmissionClient):
            """Ray's own, which by itself waits for an answer for ever."""

            def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
                return super()._do_request(method, endpoint, **{"timeout": TIMEOUT, **more})

        # It says which address it takes by default.
        logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)
        return Client(self.address)

    def jobs(self, prefix: str) -> dict[str, RayJob]:
        """Return the jobs whose ids begin so, by id. Raises LaunchError."""
        with self._answers():
            found = self._client.list_jobs()
        return {one.submission_id: _job(one) for one in found if (one.submission_id or "").startswith(prefix)}

    def submit(self, job_id: str, **job: Any) -> bool:
        """Hand a job over, in the words of Ray's `submit_job`; False where Ray has its id. Raises LaunchError."""
        try:
            with self._answers():
                self._client.submit_job(submission_id=job_id, **job)
        except Refused as error:
            if "already exists" in error.what:
                return False
            raise
        return True

    def stop(self, job_id: str) -> None:
        """Have a job asked to stop, and killed where it does not in time; at once. Raises LaunchError."""
        with self._answers():
            self._client.stop_job(job_id)

    def forget(self, job_id: str) -> None:
        """Have Ray forget a job that is over, so that its id can be used again. Raises LaunchError."""
        with self._answers():
            self._client.delete_job(job_id)

    def nodes(self) -> list[Node]:
        """Return the nodes that are there now. Raises LaunchError."""
        with self._answers():
            from ray.util.state import list_nodes

            found = list_nodes(address=self._client.get_address(), filters=[("state", "=", "ALIVE")])
        return [Node(one.node_ip, one.resources_total or {}) for one in found]

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn what Ray's client raises into NoAnswer and Refused."""
        if importlib.util.find_spec("ray") is None:
            raise Refused("hydra/launcher=ray", "Ray is not installed here", "pip install 'rlpipe[ray]'")
        import requests  # Ray's client needs it
        from ray.exceptions import RayError

        where = self.address or "Ray"
        again = "is its head up (`ray start --head`), and hydra.launcher.address or $RAY_ADDRESS its dashboard's?"
        try:
            yield
        except (ConnectionError, requests.exceptions.RequestException) as error:
            raise NoAnswer(where, f"does not answer ({_line(error)})", again) from error
        except (RuntimeError, ValueError, RayError) as error:
            raise Refused(where, _line(error), "fix what it names") from error


def _line(error: BaseException) -> str:
    """Return what an error says: its last line where it holds a traceback of Ray's own."""
    lines = str(error).replace("\\n", "\n").strip().splitlines() or [type(error).__name__]
    return lines[-1].strip() if "Traceback" in str(error) else lines[0].strip()


def _job(details: Any) -> RayJob:
    return RayJob(
        details.status.value,
        details.message or "",
        details.error_type or "",
        details.driver_exit_code,
        urlsplit(details.driver_agent_http_address or "").hostname or "",
    )
