"""The tensors of a micro-batch: its rows, and where in them each completion token is predicted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlpipe.engines.shared_rows import SharedRow, SharedRows, lay_out
from rlpipe.training.online.packing import MicroBatch


@dataclass
class Rows(SharedRows):
    """R rows padded on the right to T tokens, and the n completion tokens that they predict."""

    sources: Tensor
    """Where each completion token is predicted [n], as an index into the rows laid end to end."""
    targets: Tensor
    """The completion tokens [n], rollout after rollout."""
    rollout: Tensor
    """The rollout that each completion token belongs to [n], counted within the micro-batch."""
    position: Tensor
    """The token's index in its rollout's `ids` [n]."""


def rows(batch: MicroBatch, device: torch.device) -> Rows:
    """Lay a micro-batch out as tensors on a device. Nothing is predicted from a completion's last token."""
    shared = [
        SharedRow(batch.rollouts[row[0]].prompt_ids, [batch.rollouts[place].ids[:-1] for place in row])
        for row in batch.rows
    ]
    laid = lay_out(shared, device)
    width = laid.ids.shape[1]
    sources: list[Tensor] = [torch.empty(0, dtype=torch.long)] * len(batch.rollouts)
    for number, (row, places) in enumerate(zip(shared, batch.rows, strict=True)):
        for place, columns in zip(places, row.columns(), strict=True):
            # The first completion token is predicted at the prompt's end, the others by the one before.
            sources[place] = number * width + torch.tensor([len(row.beginning) - 1, *columns])
    counts = torch.tensor([len(rollout.ids) for rollout in batch.rollouts])
    return Rows(
        ids=laid.ids,
        positions=laid.positions,
        segments=laid.segments,
        sources=torch.cat(sources).to(device),
        targets=torch.tensor([token for rollout in batch.rollouts for token in rollout.ids]).to(device),
        rollout=torch.repeat_interleave(counts).to(device),
        position=torch.cat([torch.arange(int(count)) for count in counts]).to(device),
    )
