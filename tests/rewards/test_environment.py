"""The reward `environment` adds up what an episode's turns earned."""

from __future__ import annotations

import pytest

from rlpipe.config.kinds import RewardConfig
from rlpipe.core.errors import PluginError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.environments.episode import Turn
from rlpipe.rewards.combine import Rewards
from rlpipe.rewards.environment import EnvironmentReward
from rlpipe.testing import check_reward


def scored(turns: list[Turn] | None) -> Rollout:
    one = Rollout(Prompt("train/1", []), [], [], [], [], "", Finish.stop, turns=turns)
    Rewards({"environment": EnvironmentReward(RewardConfig(name="environment", weight=2.0))}).score([one])
    return one


def test_it_conforms():
    check_reward(EnvironmentReward)


def test_turns_add_up_and_the_last_numbers_stand():
    turns = [Turn([], 0.1, False, {"depth": 1.0, "first": 5.0}, 3), Turn([], 0.2, True, {"depth": 2.0}, 9)]
    one = scored(turns)
    score = one.scores["environment"]
    assert score.value == pytest.approx(0.3)
    assert one.reward == pytest.approx(0.6)
    assert score.parts == {"depth": 2.0, "first": 5.0, "turns": 2.0, "finished": 1.0}


def test_an_episode_without_a_whole_turn_is_unparsed():
    score = scored([]).scores["environment"]
    assert (score.value, score.parsed, score.parts) == (0.0, False, {"turns": 0.0, "finished": 0.0})


def test_a_completion_that_is_no_episode_is_refused():
    with pytest.raises(PluginError, match=r"row train/1: ValueError: the completion is no episode"):
        scored(None)
