"""The guessing game: its rules, and that halving what is left always wins."""

from __future__ import annotations

import pytest

from rlpipe.environments.guessing import Guessing, GuessingConfig
from rlpipe.testing import check_environment


def game(secret: int, **settings: int) -> Guessing:
    one = Guessing(GuessingConfig(name="guessing", **settings))
    one.reset({}, 0)
    one.secret = secret
    return one


def test_it_conforms():
    check_environment(Guessing, ["4", "6", "5"])


def test_hints_lead_to_the_number():
    one = game(5)
    told = [one.step(text) for text in ("4", " 6. ", "5")]
    assert [step.messages[0]["content"] for step in told] == ["Higher.", "Lower.", "Right!"]
    assert [(step.reward, step.done) for step in told] == [(0.0, False), (0.0, False), (1.0, True)]
    assert told[-1].numbers == {"won": 1.0, "guesses": 3.0}


@pytest.mark.parametrize("text", ["", "I say 5", "5 or 6", "٥", "9" * 100, "-5"])
def test_what_is_no_number_costs_a_guess(text):
    one = game(5)
    step = one.step(text)
    assert (step.messages[0]["content"], step.reward, step.done) == ("Say a number.", 0.0, False)
    assert [one.step("1").done, one.step("2").done] == [False, True]


@pytest.mark.parametrize("secret", range(1, 8))
def test_halving_always_wins(secret):
    one, low, high = game(secret), 1, 7
    while True:
        guess = (low + high) // 2
        step = one.step(str(guess))
        if step.done:
            break
        low, high = (guess + 1, high) if step.messages[0]["content"] == "Higher." else (low, guess - 1)
    assert step.reward == 1.0


def test_more_guesses_than_turns_are_refused():
    [problem] = Guessing(GuessingConfig(name="guessing", guesses=11)).problems()
    assert (problem.where, problem.fix) == ("guesses", "raise environment.max_turns to 11")
