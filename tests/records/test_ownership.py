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
    ("setting", "may"),
    [
        (("method=sft", "method.micro_batch_size"), True),
        (("method=kto", "method.micro_batch_size"), False),
        (("method=sft", "method.max_length"), False),
        (("method=grpo", "method.micro_batch_tokens"), True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_rounding_may_differ(tmp_path, setting, may):
    method, key = setting

    def config(size: int) -> dict:
        return to_plain(compose("model=blank", method, f"{key}={size}"))

    with nullcontext() if may else pytest.raises(RecordError, match=f"{key}: 4 there, 2 here"):
        refuse_other_run(tmp_path, config(4), config(2), differing)
    with pytest.raises(RecordError, match=r"seed: 0 there, 7 here"):
        refuse_other_run(tmp_path, config(4), {**config(2), "seed": 7}, differing)
