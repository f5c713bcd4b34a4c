"""Rewards together: proved, weighted, and never passed on when they are no numbers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rlpipe.config import plugins
from rlpipe.config.kinds import RewardConfig
from rlpipe.config.resolved import resolve
from rlpipe.core.errors import DataError, ModelError, PluginError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Case, Reward
from rlpipe.rewards.combine import Rewards, summary
from tests.composed import compose


@dataclass
class MadeConfig(RewardConfig):
    """None of its own."""


class Made(Reward):
    """Gives what its test says."""

    Config = MadeConfig
    given: object = None

    def score(self, rollouts):
        return self.given(rollouts) if callable(self.given) else self.given

    def cases(self):
        return self.own_cases if hasattr(self, "own_cases") else ()


@pytest.fixture
def made(monkeypatch):
    """Two rewards under the names `a` (weight 2) and `b` (weight -0.5) that give what is asked."""
    known = plugins.table()["reward"]
    monkeypatch.setitem(known, "made", plugins.Plugin("reward", "made", "theirs", cls=Made))

    def make(a, b=None):
        weights = {"a": 2.0} | ({"b": -0.5} if b is not None else {})
        rewards = Rewards({name: Made(MadeConfig("made", weight)) for name, weight in weights.items()})
        rewards.rewards["a"].given = a
        if b is not None:
            rewards.rewards["b"].given = b
        return rewards

    return make


@pytest.fixture
def pair(finished):
    return [finished("one", id="train/1"), finished("two", id="train/2")]


def test_the_reward_is_the_weighted_sum_of_all_scores(made, pair):
    a = [Score(1.0, {"x": 0.5}), Score(0, parsed=False)]
    b = [Score(4.0), Score(-2.0)]
    made(a, b).score(pair)
    assert [one.reward for one in pair] == [0.0, 1.0]
    assert pair[1].scores == {"a": a[1], "b": b[1]}
    numbers = summary(pair)
    assert numbers == {
        "reward": 0.5,
        "reward/a": 0.5,
        "reward/a/unparsed": 0.5,
        "reward/a/x": 0.5,
        "reward/b": 1.0,
        "reward/b/unparsed": 0.0,
    }


def raising(rollouts):
    if any(one.text == "two" for one in rollouts):
        raise KeyError("gone")
    return [Score(1.0)]


def raising_together(rollouts):
    if len(rollouts) > 1:
        raise RuntimeError("too many")
    return [Score(1.0)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([Score(1.0)], "reward.a: gave 1 scores for 2 rollouts"),
        ([Score(1.0), Score(float("nan"))], "row train/2: gave value = nan, which is no finite number"),
        ([Score(float("inf")), Score(1.0)], "row train/1: gave value = inf"),
        ([Score("good"), Score(1.0)], "row train/1: gave value = 'good'"),
        ([Score(None), Score(1.0)], "row train/1: gave value = None"),
        ([Score(1.0, {"part": float("nan")}), Score(1.0)], "row train/1: gave part = nan"),
        ([1.0, 2.0], "row train/1: gave 1.0 where a Score is due"),
        ("ab", "gave str where a list of Score is due"),
        (None, "gave NoneType where a list of Score is due"),
        (raising, "row train/2: KeyError: 'gone'"),
        (raising_together, "on none alone: RuntimeError: too many"),
    ],
)
def test_what_is_no_score_names_reward_and_row_and_changes_nothing(made, pair, given, words):
    with pytest.raises(PluginError) as caught:
        made(given).score(pair)
    assert words in str(caught.value)
    assert "nothing was trained on it" in str(caught.value)
    assert [one.scores for one in pair] == [{}, {}]


def test_errors_that_explain_themselves_pass(made, pair):
    def lost(rollouts):
        raise ModelError("", "the model is gone", "")

    with pytest.raises(ModelError, match="the model is gone"):
        made(lost).score(pair)


def test_a_reward_that_scores_its_own_case_wrong_never_starts(made, tmp_path):
    rewards = made(lambda rollouts: [Score(float(len(one.text))) for one in rollouts])
    reward = rewards.rewards["a"]
    reward.own_cases = [Case("x", {}, 1.0), Case("yy", {}, 2.0)]
    rewards.start(None, "policy", "cpu", tmp_path)  # type: ignore[arg-type]
    reward.own_cases.append(Case("zzz", {}, 4.0))
    with pytest.raises(PluginError, match=r"reward\.a: scores its own case wrong: 'zzz' gets 3\.0 instead of 4\.0"):
        rewards.start(None, "policy", "cpu", tmp_path)  # type: ignore[arg-type]
    reward.own_cases[-1] = Case("zzz", {}, 3.0, parsed=False)
    with pytest.raises(PluginError, match=r"instead of 3\.0 \(unreadable\)"):
        rewards.start(None, "policy", "cpu", tmp_path)  # type: ignore[arg-type]


def test_columns_that_rewards_read_must_be_there():
    rewards = Rewards(resolve(compose("reward=[countdown,length]")).make_rewards())
    rewards.check_columns([Prompt("train/0", [], {"nums": [1], "target": 1})])
    with pytest.raises(DataError, match="row train/1: lacks the column 'target' that reward countdown reads"):
        rewards.check_columns([Prompt("train/1", [], {"nums": [1]})])


def test_all_rewards_together_have_weight_1_unless_it_is_given():
    names = [*plugins.BUILT_IN["reward"], "nemotron"]
    chosen = compose(f"reward=[{','.join(names)}]", "reward.length.weight=0.5").reward
    assert {name: node.weight for name, node in chosen.items()} == dict.fromkeys(names, 1.0) | {"length": 0.5}


def test_the_nemotron_option_is_a_judge():
    node = compose("reward=nemotron").reward["nemotron"]
    assert (node.name, node.mode.value, node.model) == ("judge", "reward", "nvidia/llama-3.1-nemotron-70b-reward")
