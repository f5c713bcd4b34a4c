"""What SLURM says of itself: its partitions, their nodes, its limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rlpipe.launchers.slurm.command import ask, pairs
from rlpipe.launchers.units import seconds

_DEFAULT_LARGEST_ARRAY = 1001
_GPUS = re.compile(r"gpu(?::[^:,(]+)?:(\d+)")
_GONE = ("DOWN", "DRAIN", "FAIL", "FUTURE")


@dataclass(frozen=True)
class Node:
    """What one node has."""

    name: str
    cpus: int
    memory: int
    """Megabytes."""
    gpus: int
    partitions: tuple[str, ...]
    features: tuple[str, ...]
    usable: bool
    """Whether it takes jobs, now or when others have ended."""


@dataclass(frozen=True)
class Partition:
    """A part of the cluster that jobs can be sent to."""

    name: str
    default: bool
    up: bool
    longest: int | None
    """The time limit in seconds, None for none."""


@dataclass(frozen=True)
class Cluster:
    """The whole of it."""

    partitions: dict[str, Partition]
    nodes: tuple[Node, ...]
    largest_array: int

    def partition(self, name: str | None) -> Partition | None:
        """Return the named partition, the default one for None; None where there is none."""
        if name is not None:
            return self.partitions.get(name)
        return next((one for one in self.partitions.values() if one.default), None)

    def nodes_of(self, partition: Partition) -> list[Node]:
        """Return the nodes of a partition."""
        return [node for node in self.nodes if partition.name in node.partitions]


def cluster() -> Cluster:
    """Return what the controller says. Raises LaunchError."""
    partitions = {one.name: one for one in _partitions(ask("scontrol", "--oneliner", "show", "partition"))}
    nodes = tuple(_nodes(ask("scontrol", "--oneliner", "show", "node")))
    return Cluster(partitions, nodes, largest_array())


def largest_array() -> int:
    """Return how many tasks one array may have. Raises LaunchError."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(found[1])) if found else _DEFAULT_LARGEST_ARRAY


def _partitions(text: str) -> Iterator[Partition]:
    for line in text.splitlines():
        row = pairs(line)
        if "PartitionName" in row:
            longest = seconds(row.get("MaxTime", "UNLIMITED"))
            yield Partition(row["PartitionName"], row.get("Default") == "YES", row.get("State") == "UP", longest)


def _nodes(text: str) -> Iterator[Node]:
    for line in text.splitlines():
        row = pairs(line)
        if "NodeName" not in row:
            continue
        features = row.get("AvailableFeatures", "")
        yield Node(
            row["NodeName"],
            cpus=int(row.get("CPUEfctv") or row.get("CPUTot") or 0),
            memory=int(row.get("RealMemory") or 0),
            gpus=sum(map(int, _GPUS.findall(row.get("Gres", "")))),
            partitions=tuple(row.get("Partitions", "").split(",")),
            features=() if features == "(null)" else tuple(features.split(",")),
            usable=not any(word in row.get("State", "") for word in _GONE),
        )
