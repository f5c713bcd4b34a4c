"""Which prompts a batch of rollouts has, at random and by a curriculum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.core.errors import DataError
from rlpipe.datasets.forms import Prompt
from rlpipe.methods.rloo import RLOO
from rlpipe.training.online.prompt_batches import fit


def prompts(difficulties: list) -> list[Prompt]:
    return [Prompt(f"train/{n}", [], {"hard": value}) for n, value in enumerate(difficulties)]


def batches(difficulties: list, curriculum: str | None, seed: int = 0, count: int = 2):
    config = RLOO.Config(name="rloo", batch_size=4, group_size=2)
    made = fit(prompts(difficulties), [1] * len(difficulties), config, seed, curriculum)
    return made, [prompt for batch in range(count * made.batches) for prompt in made.of(batch)]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(0, 5))
def test_a_curriculum_orders_each_epoch_and_leaves_out_and_repeats_what_chance_would(difficulties, seed):
    made, ordered = batches(difficulties, "hard", seed)
    _, random = batches(difficulties, None, seed)
    epoch = made.batches * made.per_batch
    for start in (0, epoch):
        ours, theirs = ordered[start : start + epoch], random[start : start + epoch]
        assert sorted(one.id for one in ours) == sorted(one.id for one in theirs)
        hard = [one.columns["hard"] for one in ours]
        assert hard == sorted(hard)


def test_equally_hard_prompts_stay_shuffled():
    _, ordered = batches([1] * 20, "hard")
    _, random = batches([1] * 20, None)
    assert [one.id for one in ordered] == [one.id for one in random]
    assert [one.id for one in ordered[:20]] != [one.id for one in ordered[20:]]


def test_a_list_is_as_hard_as_it_is_long():
    _, ordered = batches([[1, 2, 3], [1], [1, 2], [5, 6, 7, 8]], "hard", count=1)
    assert [len(one.columns["hard"]) for one in ordered] == [1, 2, 3, 4]


def test_a_column_that_tells_of_no_difficulty_is_named():
    with pytest.raises(DataError, match=r"method.curriculum=hard: prompt train/1 has no number(?s:.*)known: hard"):
        batches([1, "easy", 3], "hard")
