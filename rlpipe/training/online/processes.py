"""Work divided among processes, and sums over them. In a run of one process all of it is free.

Importing this module imports torch. Gradients are summed here and not by DDP, whose exchange needs the same
number of backward passes in every process; micro-batches by tokens differ in number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from rlpipe.core import distributed

BUCKET = 2**24
"""Gradient elements that are summed in one message."""


def share(sizes: Sequence[int], together: int = 1) -> range:
    """Return the stretch of a sequence of work, given by its sizes, that is this process's; stretches are of like size.

    The first `together` pieces, the next ones … are of one process. Every process must call it with the same sizes;
    together the stretches are the whole, in the order of ranks.
    """
    world, rank = distributed.world_size(), distributed.rank()
    units = [sum(sizes[start : start + together]) for start in range(0, len(sizes), together)]
    total, done = sum(sizes), 0
    owner = []
    for size in units:
        owner.append(min(world - 1, int((done + size / 2) * world / total)) if total else 0)
        done += size
    mine = [place for place, who in enumerate(owner) if who == rank]
    return range(mine[0] * together, (mine[-1] + 1) * together) if mine else range(0)


def summed(values: Tensor) -> Tensor:
    """Add a tensor up over all processes, in place."""
    if distributed.world_size() > 1:
        torch.distributed.all_reduce(values)
    return values


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add the gradients up over all processes; a process without one counts as 0.

    Those of weights in shards have been added up in the backward pass.
    """
    whole = (parameter for parameter in parameters if not isinstance(parameter, DTensor))
    trained = [parameter for parameter in whole if parameter.requires_grad]
    if distributed.world_size() == 1:
        return
    bucket: list[nn.Parameter] = []
    held = 0
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if bucket and (held + parameter.numel() > BUCKET or parameter.grad.dtype != bucket[0].grad.dtype):  # type: ignore[union-attr]
            _sum_bucket(bucket)
            bucket, held = [], 0
        bucket.append(parameter)
        held += parameter.numel()
    if bucket:
        _sum_bucket(bucket)


def _sum_bucket(bucket: list[nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
    flat = summed(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
