"""Places for all tests of a worker: a SLURM, a Ray, an account with a SageMaker."""

from __future__ import annotations

import getpass
import importlib.util
from collections.abc import Iterator

import pytest

from tests.launchers.ray.head import Head
from tests.launchers.sagemaker.account import Account
from tests.launchers.sagemaker.fake import namespaces
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
def running_account() -> Iterator[Account]:
    for missing in ("boto3", "moto"):
        if importlib.util.find_spec(missing) is None:
            pytest.skip(f"no {missing} here: pip install -e '.[dev]'")
    if namespaces() is None:
        pytest.skip("processes get no mounts of their own here (unshare --mount is refused)")
    account = Account()
    try:
        account.start()
        account.furnish()
        yield account
    finally:
        account.stop()


@pytest.fixture
def account(running_account: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    for name, value in running_account.environment.items():
        monkeypatch.setenv(name, value)
    return running_account


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
