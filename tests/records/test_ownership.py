"""What may differ between two attempts of one run."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from rlpipe.config.compose import to_plain
from rlpipe.config.relevance import differing
from rlpipe.core.errors import RecordError
from rlpipe.records.ownership import refuse_other_run
from tests.composed import compose


def test_settings_of_a_reward_that_change_no_score_may_differ():
    def config(*overrides: str) -> dict:
        return to_plain(compose("model=blank", "reward=[judge,length]", *overrides))

    first = config()
    assert differing(first, config("reward.judge.budget=5", "reward.judge.retries=9", "log.every=3")) == []
    changed = config("reward.judge.max_tokens=5", "reward.length.words=9", "reward.length.weight=2")
    assert differing(first, changed) == ["reward.judge.max_tokens", "reward.length.weight", "reward.length.words"]
    assert differing(first, to_plain(compose("model=blank", "reward=length"))) != []


@pytest.mark.parametrize(
    ("attempts", "same"),
    [([1], False), ([1, 1], False), ([2], True), ([1, 2], True)],
    ids=["one process", "one again", "two before", "one, then two"],
)
def test_one_processs_share_may_differ_where_the_number_of_processes_did(tmp_path, attempts, same):
    def config(size: int) -> dict:
        return to_plain(compose("model=blank", "method=sft", f"method.micro_batch_size={size}"))

    there = {"config": config(2), "attempts": [{"processes": count} for count in attempts]}
    with nullcontext() if same else pytest.raises(RecordError, match=r"method\.micro_batch_size: 2 there, 4 here"):
        refuse_other_run(tmp_path, there, config(4), differing)
    with pytest.raises(RecordError, match=r"seed: 0 there, 7 here"):
        refuse_other_run(tmp_path, there, {**config(4), "seed": 7}, differing)
