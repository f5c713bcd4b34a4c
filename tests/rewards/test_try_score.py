"""Several rewards of which one has no score for a completion."""

from __future__ import annotations

import pytest

from rlpipe.config.kinds import RewardConfig
from rlpipe.core.errors import PluginError
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Reward
from rlpipe.rewards.combine import Rewards


class Picky(Reward):
    """Has no score for completions that begin with a dash."""

    def score(self, rollouts):
        return [Score(2.0) for _ in rollouts]

    def try_score(self, rollouts):
        return [None if one.text.startswith("-") else Score(float(len(one.text))) for one in rollouts]


@pytest.fixture
def rewards():
    made = Rewards({})
    made.rewards = {name: Picky(RewardConfig(name="picky", weight=weight)) for name, weight in (("a", 1.0), ("b", 0.5))}
    made.rewards["b"].try_score = lambda rollouts: [Score(10.0) for _ in rollouts]
    return made


def test_a_completion_without_one_of_its_scores_is_left_as_it_was(rewards, finished):
    rollouts = [finished("abc"), finished("-"), finished("x")]
    assert rewards.try_score(rollouts) == [True, False, True]
    assert [one.reward for one in rollouts] == [3 + 5, 0.0, 1 + 5]
    assert rollouts[1].scores == {}
    assert rewards.try_score([]) == []


def test_a_score_that_is_no_number_is_refused_all_the_same(rewards, finished):
    rewards.rewards["b"].try_score = lambda rollouts: [Score(float("nan")) for _ in rollouts]
    with pytest.raises(PluginError, match="no finite number"):
        rewards.try_score([finished("abc")])
