"""Scoring while others are still drawn: by whom, when, and with the same result."""

from __future__ import annotations

import threading

import pytest

from rlpipe.config.kinds import RewardConfig
from rlpipe.core.errors import PluginError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout, Score
from rlpipe.rewards.base import Reward
from rlpipe.rewards.combine import Rewards
from rlpipe.rewards.judge.pairwise import Choice
from rlpipe.rewards.scoring import Scoring


class Slow(Reward):
    """Scores by length, in any thread, once it may."""

    scores_beside = True
    compares = True

    def __init__(self, config):
        super().__init__(config)
        self.may, self.asked, self.threads = threading.Event(), [], set()
        self.may.set()

    def score(self, rollouts):
        self.threads.add(threading.current_thread())
        self.asked.append([one.text for one in rollouts])
        assert self.may.wait(60)
        return [Score(float(len(one.text))) for one in rollouts]

    def prefer(self, pairs):
        self.threads.add(threading.current_thread())
        return [Choice.first if len(pair.first) > len(pair.second) else Choice.second for pair in pairs]


class Plain(Reward):
    """Scores by the first letter, all at once."""

    def score(self, rollouts):
        self.asked = [one.text for one in rollouts]
        return [Score(float(one.text[0] == "a")) for one in rollouts]


def rollouts(*texts):
    prompt = Prompt("1", [{"role": "user", "content": "?"}])
    return [Rollout(prompt, [], [], [], [], text, Finish.stop) for text in texts]


@pytest.fixture
def rewards():
    return Rewards({"slow": Slow(RewardConfig("slow", 2.0)), "plain": Plain(RewardConfig("plain"))})


def test_what_scores_beside_is_asked_at_once_for_all_that_has_come_since(rewards):
    made, [slow, plain] = rollouts("a", "bb", "ccc", "dddd", "ab"), rewards.rewards.values()
    slow.may.clear()
    scoring = Scoring(rewards)
    scoring.add(made[:1])
    while not slow.asked:
        threading.Event().wait(0.001)
    scoring.add(made[1:2])
    scoring.add(made[2:4])
    slow.may.set()
    scoring.finish(made)
    assert slow.asked == [["a"], ["bb", "ccc", "dddd"], ["ab"]]
    assert len(slow.threads) == 2, "what was never added is scored by who waits"
    assert plain.asked == ["a", "bb", "ccc", "dddd", "ab"], "a reward that scores in no thread gets all together"
    assert [one.reward for one in made] == [3, 4, 6, 8, 5]
    again = rollouts(*(one.text for one in made))
    rewards.score(again)
    assert [(one.scores, one.reward) for one in again] == [(one.scores, one.reward) for one in made]


def test_neighbours_are_compared_beside(rewards):
    del rewards.rewards["plain"]
    made = rollouts("a", "bb", "ccc", "dd")
    scoring = Scoring(rewards, compares=True)
    scoring.add(made[:2])
    scoring.finish(made)
    assert [one.reward for one in made] == [0, 2, 2, 0]
    assert len(rewards.rewards["slow"].threads) == 2


def test_without_a_reward_that_scores_beside_there_is_no_thread(rewards):
    del rewards.rewards["slow"]
    before, made = threading.active_count(), rollouts("a", "b")
    scoring = Scoring(rewards)
    scoring.add(made)
    assert threading.active_count() == before
    scoring.finish(made)
    assert [one.reward for one in made] == [1, 0]


def test_what_fails_in_the_thread_is_raised_by_who_waits_and_nothing_is_filled_in(rewards):
    rewards.rewards["slow"].score = lambda rollouts: [Score(float("nan")) for _ in rollouts]
    made = rollouts("a")
    scoring = Scoring(rewards)
    scoring.add(made)
    scoring.wait()
    for _ in range(2):
        with pytest.raises(PluginError, match="slow: row 1: gave value = nan"):
            scoring.finish(made)
    assert made[0].scores == {}


def test_abandoned_scoring_asks_no_more(rewards):
    slow, made = rewards.rewards["slow"], rollouts("a", "b")
    slow.may.clear()
    scoring = Scoring(rewards)
    scoring.add(made[:1])
    while not slow.asked:
        threading.Event().wait(0.001)
    scoring.add(made[1:])
    scoring.abandon()
    slow.may.set()
    scoring.wait()
    scoring.add(made[1:])
    scoring.wait()
    assert slow.asked == [["a"]]
