"""What may differ between two attempts of one run."""

from __future__ import annotations

from rlpipe.config.compose import to_plain
from rlpipe.config.relevance import differing
from tests.composed import compose


def test_settings_of_a_reward_that_change_no_score_may_differ():
    def config(*overrides: str) -> dict:
        return to_plain(compose("model=blank", "reward=[judge,length]", *overrides))

    first = config()
    assert differing(first, config("reward.judge.budget=5", "reward.judge.retries=9", "log.every=3")) == []
    changed = config("reward.judge.max_tokens=5", "reward.length.words=9", "reward.length.weight=2")
    assert differing(first, changed) == ["reward.judge.max_tokens", "reward.length.weight", "reward.length.words"]
    assert differing(first, to_plain(compose("model=blank", "reward=length"))) != []
