"""The tensors of a micro-batch: token ids, positions, who sees whom, and where each completion token is predicted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlpipe.training.online.packing import MicroBatch


@dataclass
class Rows:
    """R rows padded on the right to T tokens, and the n completion tokens that they predict."""

    ids: Tensor
    """Token ids [R, T]."""
    positions: Tensor
    """Positions [R, T]: a completion's count on from its prompt's."""
    segments: Tensor
    """Which part of the row a token belongs to [R, T]: 0 the prompt, 1… the completions, -1 padding."""
    sources: Tensor
    """Where each completion token is predicted [n], as an index into the rows laid end to end."""
    targets: Tensor
    """The completion tokens [n], rollout after rollout."""
    rollout: Tensor
    """The rollout that each completion token belongs to [n], counted within the micro-batch."""
    position: Tensor
    """The token's index in its rollout's `ids` [n]."""

    def mask(self, window: int | None) -> Tensor:
        """Return who sees whom [R, 1, T, T], True for yes: the prompt and the own completion, what stands before.

        `window` bounds how far back, in positions, the token itself counted (sliding-window attention). Padding sees
        itself, lest a softmax over nothing gives NaN.
        """
        segments, length = self.segments, self.ids.shape[1]
        same = segments[:, :, None] == segments[:, None, :]
        prompt = (segments == 0)[:, None, :] & (segments >= 0)[:, :, None]
        order = torch.arange(length, device=segments.device)
        seen = (same | prompt) & (order[:, None] >= order[None, :])
        if window is not None:
            positions = self.positions.int()
            seen &= positions[:, :, None] - positions[:, None, :] < window
        return seen[:, None]


def rows(batch: MicroBatch, device: torch.device) -> Rows:
    """Lay a micro-batch out as tensors on a device."""
    width = max(batch.lengths)
    ids = torch.zeros(len(batch.rows), width, dtype=torch.long)
    positions, segments = torch.zeros_like(ids), torch.full_like(ids, -1)
    sources: list[Tensor] = [torch.empty(0, dtype=torch.long)] * len(batch.rollouts)
    for number, row in enumerate(batch.rows):
        prompt = batch.rollouts[row[0]].prompt_ids
        end = len(prompt)
        ids[number, :end] = torch.tensor(prompt)
        positions[number, :end] = torch.arange(end)
        segments[number, :end] = 0
        for segment, place in enumerate(row, 1):
            fed = len(batch.rollouts[place].ids) - 1
            ids[number, end : end + fed] = torch.tensor(batch.rollouts[place].ids[:-1], dtype=torch.long)
            positions[number, end : end + fed] = torch.arange(len(prompt), len(prompt) + fed)
            segments[number, end : end + fed] = segment
            # The first completion token is predicted at the prompt's end, the others by the one before.
            sources[place] = number * width + torch.cat([torch.tensor([len(prompt) - 1]), torch.arange(end, end + fed)])
            end += fed
    counts = torch.tensor([len(rollout.ids) for rollout in batch.rollouts])
    return Rows(
        ids=ids.to(device),
        positions=positions.to(device),
        segments=segments.to(device),
        sources=torch.cat(sources).to(device),
        targets=torch.tensor([token for rollout in batch.rollouts for token in rollout.ids]).to(device),
        rollout=torch.repeat_interleave(counts).to(device),
        position=torch.cat([torch.arange(int(count)) for count in counts]).to(device),
    )
