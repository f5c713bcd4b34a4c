"""Episodes are seeded by their rows, bounded, and what breaks the contract is named with the row."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rlpipe.config.kinds import EnvironmentConfig
from rlpipe.core.errors import PluginError
from rlpipe.datasets.forms import Prompt
from rlpipe.environments.base import Environment, Step
from rlpipe.environments.episode import Episode, begin, episode_seed, joined, opened
from rlpipe.environments.guessing import Guessing, GuessingConfig

PROMPT = Prompt("train/1", [{"role": "user", "content": "Play."}], {"level": 3})
SAID = [{"role": "user", "content": "Go on."}]


class Given(Environment):
    """Gives what it is told to."""

    def __init__(self, given: Any = (SAID, 0.5, False, {"depth": 2}), opening: Any = SAID):
        super().__init__(EnvironmentConfig(name="given", max_turns=2))
        self.given, self.opening, self.seen = given, opening, {}

    def reset(self, row, seed):
        self.seen = dict(row)
        return self.opening

    def step(self, text):
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


def guessing() -> Guessing:
    return Guessing(GuessingConfig(name="guessing"))


def test_an_episode_records_what_came_of_each_turn_and_ends_at_its_bound():
    episode = Episode(Given(), PROMPT)
    assert episode.environment.seen == {"level": 3}
    assert episode.prompt.prompt == [{"role": "user", "content": "Play.\n\nGo on."}]
    assert episode.step("a", 5).messages == SAID
    assert not episode.exhausted
    episode.step("b", 9)
    assert episode.exhausted
    assert [(turn.reward, turn.done, turn.numbers, turn.at) for turn in episode.turns] == [
        (0.5, False, {"depth": 2.0}, 5), (0.5, False, {"depth": 2.0}, 9)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (ValueError("no"), "step failed: ValueError: no"),
        (None, "step gave None where (messages, reward, done, numbers) is due"),
        ((SAID, 1.0, False), "where (messages, reward, done, numbers) is due"),
        ((SAID, float("nan"), False, {}), "step gave reward = nan"),
        ((SAID, 1.0, 1, {}), "step gave done = 1"),
        ((SAID, 1.0, False, {"won": "yes"}), "step gave won = 'yes'"),
        ((SAID, 1.0, False, None), "step gave numbers = None"),
        (([], 1.0, False, {}), "step gave no message, though the episode goes on"),
        (("Go on.", 1.0, False, {}), "step gave 'Go on.' where a list of messages is due"),
        (([{"role": "assistant", "content": "I"}], 1.0, False, {}), "where a message of user, system, tool"),
    ],
)
def test_what_breaks_the_contract_is_named_with_the_row(given, what):
    with pytest.raises(PluginError) as error:
        Episode(Given(given), PROMPT).step("a", 0)
    assert error.value.where == "environment=given, row train/1"
    assert what in error.value.what
    assert error.value.fix


def test_an_opening_that_is_no_list_of_messages_is_named():
    with pytest.raises(PluginError, match="reset gave 'Hello' where a list of messages is due"):
        Episode(Given(opening="Hello"), PROMPT)


def test_the_last_answer_may_be_empty():
    assert Episode(Given(([], 1.0, True, {})), PROMPT).step("a", 0).done
    assert Episode(Given(Step((), 1, True, {})), PROMPT).step("a", 0).reward == 1.0


def test_a_row_decides_its_episode_alone():
    secrets = [Episode(guessing(), Prompt(f"train/{row}", [])).environment.secret for row in range(40)]
    again = [Episode(guessing(), Prompt(f"train/{row}", [])).environment.secret for row in range(40)]
    assert secrets == again
    assert set(secrets) == set(range(1, 8))
    seeds = {episode_seed(seed, id) for seed in range(3) for id in ("train/0", "train/1", "test/0")}
    assert len(seeds) == 9
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_episodes_of_a_prompt_begin_alike_or_not_at_all():
    assert len(begin(guessing, PROMPT, 3)) == 3

    def other() -> Environment:
        return Given(opening=[{"role": "user", "content": str(random.random())}])

    with pytest.raises(PluginError, match="reset said different things for the same row and seed"):
        begin(other, PROMPT, 2)


def test_prompts_are_read_with_what_the_environment_says_first():
    assert opened(None, [PROMPT]) == [PROMPT]
    [read] = opened(guessing, [PROMPT])
    assert read.prompt[0]["content"] == "Play.\n\nGuess my number from 1 to 7 in 3 guesses."
    assert (read.id, read.columns) == (PROMPT.id, PROMPT.columns)


def test_only_two_turns_of_the_user_become_one():
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go."}
    assert joined([system], [user]) == [system, user]
    assert joined([], [user]) == [user]
    assert joined([user], []) == [user]
    assert joined([{"role": "user", "content": ""}], [user, system]) == [user, system]
