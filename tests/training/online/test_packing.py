"""Rollouts as rows, rows as micro-batches."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.core.errors import TrainingError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.engines.row_costs import Costs
from rlpipe.training.online.packing import MicroBatch, micro_batches

FREE = Costs(share=True)


def rollout(prompt: list[int], ids: list[int]) -> Rollout:
    return Rollout(Prompt("train/0", []), prompt, ids, [0.0] * len(ids), [True] * len(ids), "", Finish.stop)


def group(prompt: int, lengths: list[int], first: int = 0) -> list[Rollout]:
    return [rollout([first] * prompt, [1] * length) for length in lengths]


def per_row(batches: list[MicroBatch]) -> list[int]:
    return sorted(len(row) for batch in batches for row in batch.rows)


@st.composite
def many(draw: st.DrawFn) -> list[Rollout]:
    lengths = st.lists(st.integers(1, 20), min_size=1, max_size=6)
    groups = draw(st.lists(st.tuples(st.integers(1, 20), lengths), max_size=6))
    return [each for first, (prompt, drawn) in enumerate(groups) for each in group(prompt, drawn, first % 3)]


some_costs = st.builds(
    Costs, st.booleans(), st.floats(0, 0.1), st.floats(0, 0.1), st.floats(0, 50, allow_subnormal=False)
)


@given(many(), st.integers(1, 120), some_costs)
def test_every_rollout_is_in_one_row_and_no_budget_is_exceeded(
    rollouts: list[Rollout], most: int, costs: Costs
) -> None:
    batches = micro_batches(rollouts, most, costs)
    assert sorted(index for batch in batches for index in batch.indices) == list(range(len(rollouts)))
    for batch in batches:
        assert list(batch.indices) == sorted(batch.indices)
        assert all(one is rollouts[index] for one, index in zip(batch.rollouts, batch.indices, strict=True))
        assert sorted(place for row in batch.rows for place in row) == list(range(len(batch.rollouts)))
        assert all(len({tuple(batch.rollouts[place].prompt_ids) for place in row}) == 1 for row in batch.rows)
        assert batch.tokens <= most or len(batch.rollouts) == 1
        assert costs.share or not batch.shared


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=6), st.integers(1, 120), some_costs)
def test_what_belongs_together_stays_in_one_micro_batch(pairs: list[tuple[int, int]], most: int, costs: Costs) -> None:
    """All have one prompt: what may share a row ends where the pair does."""
    rollouts = [one for lengths in pairs for one in group(5, list(lengths))]
    batches = micro_batches(rollouts, most, costs, together=2)
    assert sorted(index for batch in batches for index in batch.indices) == list(range(len(rollouts)))
    for batch in batches:
        assert [index // 2 for index in batch.indices[::2]] == [index // 2 for index in batch.indices[1::2]]
        assert batch.tokens <= most or len(batch.rollouts) == 2
        assert all(len({batch.indices[place] // 2 for place in row}) == 1 for row in batch.rows)


@given(st.integers(1, 60), st.lists(st.integers(1, 40), min_size=1, max_size=6), some_costs)
def test_the_chosen_rows_cost_no_more_than_one_row_each_or_one_for_all(
    prompt: int, lengths: list[int], costs: Costs
) -> None:
    def price(rows: list[list[int]]) -> float:
        return sum(costs.row(prompt + sum(length - 1 for length in row), len(row)) for row in rows)

    batches = micro_batches(group(prompt, lengths), 10**6, costs)
    chosen = [[len(batch.rollouts[place].ids) for place in row] for batch in batches for row in batch.rows]
    allowed = [[[length] for length in lengths]] + ([[lengths]] if costs.share else [])
    assert price(chosen) <= min(map(price, allowed)) + 1e-6


def test_a_shared_prompt_counts_once_and_last_tokens_not_at_all() -> None:
    (batch,) = micro_batches(group(10, [4, 3]), 100, FREE)
    assert batch.rows == ((0, 1),)
    assert batch.lengths == [10 + 3 + 2]


def test_completions_part_where_the_mask_costs_more_than_the_prompt() -> None:
    costs = Costs(share=True, causal=5e-4, masked=7e-4)
    assert per_row(micro_batches(group(400, [64] * 8), 8192, costs)) == [8]
    assert per_row(micro_batches(group(32, [256] * 8), 8192, costs)) == [1] * 8


def test_only_neighbours_share() -> None:
    one, other = group(9, [3], 1), group(9, [3], 2)
    assert per_row(micro_batches([*one, *other, *one], 100, FREE)) == [1, 1, 1]
    assert per_row(micro_batches([*one, *one, *other], 100, FREE)) == [1, 2]


def test_rows_of_unlike_length_part_where_padding_costs_more_than_a_call() -> None:
    rollouts = group(1, [100], 0) + group(1, [2], 1)
    assert len(micro_batches(rollouts, 1000, Costs(share=False, call=10))) == 2
    assert len(micro_batches(rollouts, 1000, Costs(share=False, call=200))) == 1


def test_the_longest_come_first() -> None:
    batches = micro_batches(group(3, [5, 9, 7]), 12, Costs(share=False))
    assert [batch.indices for batch in batches] == [(1,), (2,), (0,)]


def test_a_rollout_longer_than_the_budget_stands_alone() -> None:
    batches = micro_batches(group(3, [50, 2, 2]), 10, FREE)
    assert [batch.tokens for batch in batches] == [52, 5]
    assert batches[0].indices == (0,)


def test_nothing_to_pack() -> None:
    assert micro_batches([], 10, FREE) == []


def test_empty_ones_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"rollout 1 \(prompt 'train/0'\) has no completion tokens"):
        micro_batches([*group(3, [2]), rollout([1], [])], 10, FREE)
    with pytest.raises(TrainingError, match=r"rollout 0 .* has no prompt tokens"):
        micro_batches([rollout([], [1])], 10, FREE)
    with pytest.raises(TrainingError, match="0 tokens"):
        micro_batches(group(3, [2]), 0, FREE)


def test_packing_imports_no_torch() -> None:
    code = "import sys, rlpipe.training.online.packing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("world", [1, 2, 3])
def test_what_belongs_together_is_of_one_process(monkeypatch, world):
    from rlpipe.core import distributed
    from rlpipe.training.online.processes import share

    monkeypatch.setattr(distributed, "world_size", lambda: world)
    sizes, parts = [5, 1, 1, 9, 3, 3, 2, 2], []
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(list(share(sizes, together=2)))
    assert [place for part in parts for place in part] == list(range(8))
    assert all(part[0] % 2 == 0 and len(part) % 2 == 0 for part in parts)
