"""What speaks against a submission, found before anything is submitted."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from rlpipe.config.launchers import SlurmConfig
from rlpipe.config.ranges import out_of_range
from rlpipe.core.errors import Problem, guess
from rlpipe.launchers.base import NoAnswer, Refused
from rlpipe.launchers.folder import folder_problems
from rlpipe.launchers.slurm import cluster as facts
from rlpipe.launchers.slurm.cluster import Cluster, Node, Partition
from rlpipe.launchers.slurm.command import ask
from rlpipe.launchers.units import FOR_EVER, megabytes, seconds

AT = "hydra.launcher"
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")

_PER_JOB = 0.9
"""A job's grace must leave most of its time for work."""


def problems(config: SlurmConfig, folder: Path) -> list[Problem]:
    """Return all that is wrong with a config of the launcher and with the folder of a sweep.

    Asks SLURM itself where it answers; numbers that make no sense are found without it.
    """
    found = [*_numbers(config), *folder_problems(folder)]
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        fix = "run this where jobs are submitted (a login node; perhaps `module load slurm`), or hydra/launcher=local"
        return [*found, Problem(AT, f"{', '.join(missing)} not on the path", fix)]
    try:
        known = facts.cluster()
    except (NoAnswer, Refused) as error:
        return [*found, Problem(AT, f"SLURM does not answer: {error.headline}", "try again when `scontrol ping` does")]
    return [*found, *_partition_problems(config, known), *_rights(config)]


def _numbers(config: SlurmConfig) -> Iterator[Problem]:
    yield from out_of_range(config, f"{AT}.")
    for name, read in (("memory", megabytes), ("time", seconds)):
        try:
            read(getattr(config, name))
        except ValueError as error:
            yield Problem(f"{AT}.{name}", str(error), f"write it as sbatch takes it, `{SlurmConfig.__dict__[name]}`")
    limit = _limit(config)
    if limit is not None and config.grace > limit * _PER_JOB:
        what = f"asked to save {config.grace} s before a limit of {limit} s, a job would hardly begin"
        yield Problem(f"{AT}.grace", what, f"give less, or a longer {AT}.time")


def _partition_problems(config: SlurmConfig, known: Cluster) -> Iterator[Problem]:
    """Yield what a partition does not have of what is asked for."""
    partition = known.partition(config.partition)
    if partition is None:
        what = f"no partition '{config.partition}'" if config.partition else "the cluster has no default partition"
        yield Problem(f"{AT}.partition", what, guess(config.partition or "", known.partitions))
        return
    if not partition.up:
        yield Problem(f"{AT}.partition", f"'{partition.name}' takes no jobs now", _others(known), fatal=False)
    yield from _time(config, partition)
    nodes = known.nodes_of(partition)
    requested = {"cpus": config.cpus, "memory": _memory(config), "gpus": config.gpus}
    for name, amount in requested.items():
        most = max((getattr(node, name) for node in nodes), default=0)
        if amount > most:
            what = f"{_amount(name, amount)} on one node, but no node of '{partition.name}' has more than"
            yield Problem(f"{AT}.{name}", f"{what} {_amount(name, most)}", f"give less, or another {AT}.partition")
    fitting = [node for node in nodes if all(getattr(node, name) >= amount for name, amount in requested.items())]
    if fitting:
        yield from _enough(config, partition, fitting)


def _enough(config: SlurmConfig, partition: Partition, fitting: list[Node]) -> Iterator[Problem]:
    if config.nodes > len(fitting):
        what = f"{config.nodes} nodes, but only {len(fitting)} of '{partition.name}' have what is asked for"
        yield Problem(f"{AT}.nodes", what, "ask for fewer nodes, or less of each")
    elif config.nodes > sum(node.usable for node in fitting):
        what = f"only {sum(node.usable for node in fitting)} of '{partition.name}' that would do are up"
        yield Problem(f"{AT}.nodes", what, "jobs will wait until more nodes are back", fatal=False)


def _time(config: SlurmConfig, partition: Partition) -> Iterator[Problem]:
    requested = _limit(config)
    endless = config.time.upper() in FOR_EVER
    if partition.longest is not None and (endless or (requested is not None and requested > partition.longest)):
        what = f"{config.time}, but '{partition.name}' ends jobs after {partition.longest // 60} minutes"
        yield Problem(f"{AT}.time", what, "give less: a job that needs longer saves, is queued again and goes on")


def _limit(config: SlurmConfig) -> int | None:
    """Return the time limit in seconds; None for one that is no limit, or that is nothing (which is said once)."""
    try:
        return seconds(config.time)
    except ValueError:
        return None


def _memory(config: SlurmConfig) -> float:
    try:
        return megabytes(config.memory)
    except ValueError:
        return 0.0


def _amount(name: str, amount: float) -> str:
    return f"{amount / 1024:.4g}G of memory" if name == "memory" else f"{amount:g} {name}"


def _others(known: Cluster) -> str:
    return f"choose another: {', '.join(name for name, one in known.partitions.items() if one.up)}"


def _rights(config: SlurmConfig) -> Iterator[Problem]:
    """Yield accounts and qualities of service that accounting does not know for this user."""
    if config.account is None and config.qos is None:
        return
    try:
        output = ask(
            "sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}", "format=account,qos"
        )
    except (NoAnswer, Refused):  # no accounting, no rights
        return
    rows = [line.split("|") for line in output.splitlines() if "|" in line]
    accounts = {row[0] for row in rows}
    qualities = {one for row in rows for one in row[1].split(",") if one}
    yield from _unknown("account", config.account, accounts)
    yield from _unknown("qos", config.qos, qualities)


def _unknown(name: str, value: str | None, known: Iterable[str]) -> Iterator[Problem]:
    if value is not None and known and value not in known:
        yield Problem(f"{AT}.{name}", f"'{value}' is none of yours", guess(value, known))
