"""Rows in which several sequences share their beginning: `[beginning, end 1, end 2, …]`.

Every end continues from the beginning's last position and sees the beginning and itself, so what K sequences share goes
through a network once instead of K times. Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class SharedRows:
    """R rows padded on the right to T tokens."""

    ids: Tensor
    """Token ids [R, T]."""
    positions: Tensor
    """Positions [R, T]: an end's count on from its beginning's."""
    segments: Tensor
    """Which part of the row a token belongs to [R, T]: 0 the beginning, 1… the ends, -1 padding."""

    def mask(self, window: int | None) -> Tensor:
        """Return who sees whom [R, 1, T, T], True for yes: the beginning and the own end, what stands before.

        `window` bounds how far back, in positions, the token itself counted (sliding-window attention). Padding sees
        itself, lest a softmax over nothing gives NaN.
        """
        segments, length = self.segments, self.ids.shape[1]
        same = segments[:, :, None] == segments[:, None, :]
        beginning = (segments == 0)[:, None, :] & (segments >= 0)[:, :, None]
        order = torch.arange(length, device=segments.device)
        seen = (same | beginning) & (order[:, None] >= order[None, :])
        if window is not None:
            positions = self.positions.int()
            seen &= positions[:, :, None] - positions[:, None, :] < window
        return seen[:, None]


@dataclass(frozen=True)
class SharedRow:
    """One row before it is laid out: the tokens that its sequences share, and how each goes on."""

    beginning: Sequence[int]
    ends: Sequence[Sequence[int]]

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self.beginning) + sum(map(len, self.ends))

    def columns(self) -> list[range]:
        """Return where in the row each end stands."""
        found, start = [], len(self.beginning)
        for end in self.ends:
            found.append(range(start, start + len(end)))
            start += len(end)
        return found


def lay_out(rows: Sequence[SharedRow], device: torch.device) -> SharedRows:
    """Lay rows out as tensors on a device."""
    width = max(row.length for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    positions, segments = torch.zeros_like(ids), torch.full_like(ids, -1)
    for number, row in enumerate(rows):
        start = len(row.beginning)
        ids[number, :start] = torch.tensor(row.beginning, dtype=torch.long)
        positions[number, :start] = torch.arange(start)
        segments[number, :start] = 0
        for segment, (end, columns) in enumerate(zip(row.ends, row.columns(), strict=True), 1):
            place = slice(columns.start, columns.stop)
            ids[number, place] = torch.tensor(end, dtype=torch.long)
            positions[number, place] = torch.arange(start, start + len(end))
            segments[number, place] = segment
    return SharedRows(ids.to(device), positions.to(device), segments.to(device))
