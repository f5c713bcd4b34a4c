"""Which process this is, where `torchrun` or `accelerate launch` start several of the same run.

Every process runs the same code; only the main one (rank 0) writes records and shows things.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from rlpipe.core.errors import RlpipeError

T = TypeVar("T")


def rank() -> int:
    """Return this process's number among all of the run's processes; 0 where there is only one."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)


def world_size() -> int:
    """Return how many processes the run has."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def local_world_size() -> int:
    """Return how many of the run's processes its node has: all of them where nobody says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or world_size())


def is_main() -> bool:
    """Return whether this is the process that writes records and shows things."""
    return rank() == 0


def start(on_cpu: bool) -> None:
    """Let the processes of a launch find each other; does nothing, and imports nothing, where there is only one."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState(cpu=on_cpu)


def finish() -> None:
    """Let the processes of a launch part in good order: a group that is left open can abort the exit."""
    if world_size() > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def any_rank(flag: bool) -> bool:
    """Return whether `flag` is true in any process; every process must call it at the same point.

    Costs nothing in a run of one process, and one all-reduce of a single number in others.
    """
    if world_size() == 1:
        return flag
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return flag
    on_gpu = dist.get_backend() == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    votes = torch.tensor(int(flag), device=device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


def barrier() -> None:
    """Wait until every process of the run is here; returns at once in a run of one process."""
    if world_size() == 1:
        return
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def broadcast(value: Any) -> Any:
    """Return the main process's value in every process; what the others pass is ignored."""
    if world_size() == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def from_main(compute: Callable[[], T]) -> T:
    """Return what the main process computes, in every process. Raises in all of them the RlpipeError that it raises."""
    value: Any = None
    error: RlpipeError | None = None
    if is_main():
        try:
            value = compute()
        except RlpipeError as raised:
            error = raised
    if (error := broadcast(error)) is not None:
        raise error
    found: T = broadcast(value)
    return found


def gather(value: Any) -> list[Any]:
    """Return every process's value, in the order of ranks, in every process."""
    if world_size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values
