"""Rollouts as rows of tokens, and rows as micro-batches. Nothing here imports torch.

A row is one prompt followed by one or more of its completions: `[prompt, c1, c2, …]` (`engines.shared_rows`). It needs
a dense attention mask, which pays for every pair of tokens, the masked ones too; `Costs` decides how many completions
share a row, and how rows are put together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlpipe.core.errors import TrainingError
from rlpipe.engines.rollout import Rollout
from rlpipe.engines.row_costs import Costs


@dataclass(frozen=True)
class MicroBatch:
    """Rollouts that go through the network together."""

    rollouts: tuple[Rollout, ...]
    indices: tuple[int, ...]
    """Where each rollout stood in the sequence that was packed, rising."""
    rows: tuple[tuple[int, ...], ...]
    """The rollouts (counted within this micro-batch) that each row holds; those of one row have one prompt."""

    @property
    def shared(self) -> bool:
        """Whether any row holds several completions."""
        return any(len(row) > 1 for row in self.rows)

    @property
    def lengths(self) -> list[int]:
        """The number of tokens in each row, before padding."""
        return [_length([self.rollouts[place] for place in row]) for row in self.rows]

    @property
    def tokens(self) -> int:
        """The number of tokens that go through the network, padding included."""
        return len(self.rows) * max(self.lengths)


@dataclass(frozen=True)
class _Row:
    indices: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class _Block:
    """Rows that stay together."""

    rows: list[_Row]

    @property
    def longest(self) -> int:
        return max(row.length for row in self.rows)

    @property
    def shared(self) -> bool:
        return any(len(row.indices) > 1 for row in self.rows)


def micro_batches(rollouts: Sequence[Rollout], max_tokens: int, costs: Costs, together: int = 1) -> list[MicroBatch]:
    """Pack rollouts into micro-batches of at most `max_tokens` tokens each, padding included.

    Neighbours with the same prompt may share a row. The first `together` rollouts, the next ones … stay in one
    micro-batch. One of them that is larger than `max_tokens` makes a micro-batch of its own. The largest come first, so
    that a lack of memory shows at once. Raises TrainingError for a rollout without prompt or completion tokens.
    """
    if max_tokens < 1:
        raise TrainingError("", f"micro-batches of {max_tokens} tokens hold nothing", "give at least 1")
    for index, rollout in enumerate(rollouts):
        if not rollout.ids or not rollout.prompt_ids:
            missing = "completion" if rollout.prompt_ids else "prompt"
            raise TrainingError(
                "",
                f"rollout {index} (prompt {rollout.prompt.id!r}) has no {missing} tokens",
                "leave it out before log-probabilities are asked for",
            )
    if together == 1:
        groups = _groups(rollouts)
        blocks = [_Block([row]) for group in groups for row in _rows(rollouts, group, max_tokens, costs)]
    else:
        units = [list(range(start, start + together)) for start in range(0, len(rollouts), together)]
        blocks = [_Block(_rows(rollouts, unit, max_tokens, costs)) for unit in units]
    batches = []
    for kind in (True, False):
        alike = sorted((block for block in blocks if block.shared is kind), key=lambda block: -block.longest)
        batches += [_batch(rollouts, part) for part in _cut(alike, max_tokens, costs)]
    return sorted(batches, key=lambda batch: -batch.tokens)


def _length(rollouts: Sequence[Rollout]) -> int:
    """Count the tokens of a row: nothing is predicted from a completion's last token, so it is left out."""
    return len(rollouts[0].prompt_ids) + sum(len(rollout.ids) - 1 for rollout in rollouts)


def _groups(rollouts: Sequence[Rollout]) -> list[list[int]]:
    groups: list[list[int]] = []
    for index, rollout in enumerate(rollouts):
        if groups and rollouts[groups[-1][0]].prompt_ids == rollout.prompt_ids:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _rows(rollouts: Sequence[Rollout], group: list[int], max_tokens: int, costs: Costs) -> list[_Row]:
    """Split the completions of one prompt into the rows that cost least."""
    if not costs.share:
        return [_Row((index,), _length([rollouts[index]])) for index in group]
    ordered = sorted(group, key=lambda index: -len(rollouts[index].ids))
    prompt = len(rollouts[group[0]].prompt_ids)
    ends = [0]
    for index in ordered:
        ends.append(ends[-1] + len(rollouts[index].ids) - 1)

    def cost(start: int, stop: int) -> float | None:
        length = prompt + ends[stop] - ends[start]
        return costs.row(length, stop - start) if stop - start == 1 or length <= max_tokens else None

    cuts = _cheapest(len(ordered), cost)
    return [_Row(tuple(sorted(ordered[start:stop])), prompt + ends[stop] - ends[start]) for start, stop in cuts]


def _cut(blocks: list[_Block], max_tokens: int, costs: Costs) -> list[list[_Row]]:
    """Split blocks, the longest first, into the micro-batches that cost least, padding counted."""
    ends = [0, *itertools.accumulate(len(block.rows) for block in blocks)]

    def cost(start: int, stop: int) -> float | None:
        count, longest = ends[stop] - ends[start], blocks[start].longest
        if stop - start > 1 and count * longest > max_tokens:
            return None
        return costs.call + count * costs.row(longest, 2 if blocks[start].shared else 1)

    cuts = _cheapest(len(blocks), cost)
    return [[row for block in blocks[start:stop] for row in block.rows] for start, stop in cuts]


def _cheapest(count: int, cost: Callable[[int, int], float | None]) -> list[tuple[int, int]]:
    """Cut `count` things in a line into stretches of least total cost; None says that this and longer ones do not fit.

    Stretches that end at one place are tried from the shortest up, so work is bounded by what fits.
    """
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, count + 1):
        found = (float("inf"), stop - 1)
        for start in range(stop - 1, -1, -1):
            this = cost(start, stop)
            if this is None:
                break
            found = min(found, (best[start][0] + this, start))
        best.append(found)
    cuts, stop = [], count
    while stop:
        cuts.append((best[stop][1], stop))
        stop = best[stop][1]
    return cuts[::-1]


def _batch(rollouts: Sequence[Rollout], rows: list[_Row]) -> MicroBatch:
    indices = tuple(sorted(index for row in rows for index in row.indices))
    place = {index: number for number, index in enumerate(indices)}
    return MicroBatch(
        rollouts=tuple(rollouts[index] for index in indices),
        indices=indices,
        rows=tuple(tuple(place[index] for index in row.indices) for row in rows),
    )
