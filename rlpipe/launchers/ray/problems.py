"""What speaks against a submission, found before anything is submitted."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from rlpipe.config.launchers import RayConfig
from rlpipe.config.ranges import out_of_range
from rlpipe.core.errors import LaunchError, Problem
from rlpipe.launchers.folder import folder_problems
from rlpipe.launchers.ray.cluster import Cluster, Node
from rlpipe.launchers.units import megabytes, seconds

AT = "hydra.launcher"
_PER_JOB = 0.9
"""A job's grace must leave most of its time for work."""


def problems(config: RayConfig, cluster: Cluster, folder: Path) -> list[Problem]:
    """Return all that is wrong with a config of the launcher and with the folder of a sweep.

    Asks the cluster where it answers; numbers that make no sense are found without it.
    """
    found = list(_numbers(config))
    try:
        nodes = cluster.nodes()
    except LaunchError as error:
        closed = [problem for problem in folder_problems(folder) if problem.fatal]
        return [*found, *closed, Problem(error.where, error.what, error.fix)]
    apart = [node for node in nodes if node.address not in _addresses_here()]
    on_disk = [problem for problem in folder_problems(folder) if problem.fatal or apart]
    return [*found, *on_disk, *_too_much(config, nodes), *_python(config, apart)]


def _numbers(config: RayConfig) -> Iterator[Problem]:
    yield from out_of_range(config, f"{AT}.")
    if config.nodes != 1:
        what = f"{config.nodes} nodes of one job, but a Ray Job runs on one node"
        yield Problem(f"{AT}.nodes", what, "give 1 with the GPUs of one node, or hydra/launcher=slurm")
    for name, read, example in (("memory", megabytes, "16G"), ("time", seconds, "4:00:00")):
        value = getattr(config, name)
        try:
            if value is not None:
                read(value)
        except ValueError as error:
            yield Problem(f"{AT}.{name}", str(error), f"write it like `{example}`")
    limit = _limit(config)
    if limit is not None and config.grace > limit * _PER_JOB:
        what = f"asked to save {config.grace} s before a limit of {limit} s, a job would hardly begin"
        yield Problem(f"{AT}.grace", what, f"give less, or a longer {AT}.time")


def _limit(config: RayConfig) -> int | None:
    """Return the time limit in seconds; None for one that is no limit, or that is nothing (which is said once)."""
    try:
        return None if config.time is None else seconds(config.time)
    except ValueError:
        return None


def _too_much(config: RayConfig, nodes: list[Node]) -> Iterator[Problem]:
    """Yield what no node has now; a cluster may grow, so that this stops nothing."""
    wanted = {
        "cpus": ("CPU", config.cpus),
        "gpus": ("GPU", config.gpus),
        **{f"resources.{name}": (name, amount) for name, amount in config.resources.items()},
    }
    for field, (name, amount) in wanted.items():
        most = max((node.resources.get(name, 0) for node in nodes), default=0)
        if amount > most:
            what = f"{amount:g} {name} for a job, but no node of the cluster has more than {most:g} now"
            fix = "give less; else jobs wait until a node that has it joins the cluster"
            yield Problem(f"{AT}.{field}", what, fix, fatal=False)


def _python(config: RayConfig, apart: list[Node]) -> Iterator[Problem]:
    """Yield that the interpreter is one of this machine's own disk, where jobs may run elsewhere."""
    if config.python is not None:
        if not apart and shutil.which(config.python.split()[0]) is None:
            yield Problem(f"{AT}.python", f"'{config.python}' is no command here", "give a path, or leave it out")
    elif apart and any(not problem.fatal for problem in folder_problems(Path(sys.executable))):
        what = f"jobs begin with {sys.executable}, which other nodes may not have"
        yield Problem(f"{AT}.python", what, f"{AT}.python=… names theirs, with rlpipe and Ray", fatal=False)


def _addresses_here() -> set[str]:
    """Return the addresses by which nodes on this machine call themselves."""
    import psutil

    found = {one.address for several in psutil.net_if_addrs().values() for one in several if one.family in _IP}
    return {"127.0.0.1", "localhost", *found}


_IP = (socket.AF_INET, socket.AF_INET6)
