"""A Ray cluster that takes jobs and runs none: a test says what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rlpipe.launchers.base import NoAnswer, Phase, Refused
from rlpipe.launchers.ray.cluster import Node, RayJob


class FakeCluster:
    """What `rlpipe.launchers.ray.cluster.Cluster` asks, with Ray's rules: an id is taken once, only the dead go."""

    def __init__(self) -> None:
        self.known: dict[str, RayJob] = {}
        self.submitted: list[str] = []
        """Every id that was taken, in order."""
        self.asked: dict[str, dict[str, Any]] = {}
        self.stopped: list[str] = []
        self.answers = True
        self.has = [Node("127.0.0.1", {"CPU": 4.0, "GPU": 1.0})]

    def jobs(self, prefix: str) -> dict[str, RayJob]:
        self._answer()
        return {job_id: job for job_id, job in self.known.items() if job_id.startswith(prefix)}

    def submit(self, job_id: str, **job: Any) -> bool:
        self._answer()
        if job_id in self.known:
            return False
        self.known[job_id] = RayJob("PENDING")
        self.submitted.append(job_id)
        self.asked[job_id] = job
        return True

    def stop(self, job_id: str) -> None:
        self._answer()
        self.stopped.append(job_id)
        if self.known[job_id].status == "RUNNING":  # Ray lets one that waits for resources wait on
            self.becomes(job_id, "STOPPED")

    def forget(self, job_id: str) -> None:
        self._answer()
        if self.known[job_id].phase is not Phase.gone:
            raise Refused(job_id, "it is in a non-terminal state", "")
        del self.known[job_id]

    def nodes(self) -> list[Node]:
        self._answer()
        return self.has

    def becomes(self, job_id: str, status: str, **more: Any) -> None:
        self.known[job_id] = replace(self.known[job_id], status=status, **more)

    def _answer(self) -> None:
        if not self.answers:
            raise NoAnswer("Ray", "does not answer (connection refused)", "")
