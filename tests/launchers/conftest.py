"""Places for all tests of a worker: a SLURM, a Ray."""

from __future__ import annotations

import getpass
import importlib.util
from collections.abc import Iterator

import pytest

from tests.launchers.ray.head import Head
from tests.launchers.slurm.cluster import Cluster


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    if missing := Cluster.missing():
        pytest.skip(f"no SLURM here: {', '.join(missing)} not installed")
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(running_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in running_cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield running_cluster
    running_cluster.call("scancel", "--quiet", f"--user={getpass.getuser()}", check=False)


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("no Ray here: pip install 'rlpipe[ray]'")
    head = Head()
    try:
        head.start()
        yield head
    finally:
        head.stop()
