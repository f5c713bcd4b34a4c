"""What data cannot teach is said with the number, and nothing is said of data that is well."""

from __future__ import annotations

import pytest

from rlpipe.datasets.forms import Chat, Choice, Completion, Labelled, Preference, Prompt
from rlpipe.datasets.signal import weaknesses

ASK = [{"role": "user", "content": "Hi"}]


def say(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def labels(good: int, bad: int) -> list[Labelled]:
    return [Labelled(str(n), ASK, say(f"{n}"), n < good) for n in range(good + bad)]


def pairs(longer: int, shorter: int, same: int = 0) -> list[Preference]:
    made = [("long answer", "short"), ("short", "long answer"), ("one", "two")]
    kinds = [0] * longer + [1] * shorter + [2] * same
    return [
        Preference(str(n), ASK, say(f"{made[k][0]}{n:03}"), say(f"{made[k][1]}{n:03}")) for n, k in enumerate(kinds)
    ]


def choices(*answers: int) -> list[Choice]:
    return [Choice(str(n), ASK, ["a", "b"], answer) for n, answer in enumerate(answers)]


def prompts(*answers: str) -> list[Prompt]:
    return [Prompt(str(n), ASK, {"answer": answer, "n": n}) for n, answer in enumerate(answers)]


def completions(*texts: str) -> list[Completion]:
    return [Completion(str(n), ASK, say(text)) for n, text in enumerate(texts)]


WEAK = [
    (labels(8, 0), [], "the label is true in all 8 rows", True),
    (labels(0, 8), [], "the label is false in all 8 rows", True),
    (labels(99, 1), [], "the label is true in 99 of 100 rows (99.0%)", False),
    (pairs(20, 0), [], "the chosen completion is the longer one in all 20 rows", False),
    (pairs(1, 99), [], "the chosen completion is the shorter one in 99 of 100 rows (99.0%)", False),
    (
        [Preference(str(n), ASK, say("Yes"), say(f"{n:03}")) for n in range(20)],
        [],
        "chosen completion is the same text in all 20 rows: 'Yes'",
        False,
    ),
    (
        [Preference(str(n), ASK, say(f"{n:03}"), say("N/A")) for n in range(20)],
        [],
        "rejected completion is the same text in all 20 rows: 'N/A'",
        False,
    ),
    (pairs(0, 0, 20), choices(*[0] * 20), "the right choice is number 0 (counted from 0) in all 20 rows", False),
    (prompts(*["7"] * 20), [], "what completions are verified by ('answer') is the same in all 20 rows: ['7']", False),
    (completions(*["ok"] * 20), [], "the completion is the same text in all 20 rows: 'ok'", False),
    (
        [Chat(str(n), [*ASK, *say("ok")]) for n in range(20)],
        [],
        "the answer is the same text in all 20 rows: 'ok'",
        False,
    ),
]

WELL = [
    (labels(50, 50), []),
    (labels(9, 1), []),
    (labels(1, 1), []),
    (pairs(12, 8), []),
    (pairs(19, 0), []),
    (pairs(95, 5), []),
    (pairs(0, 0, 20), choices(*[0, 1] * 10)),
    (prompts(*"0123456789" * 2), []),
    (prompts(*["7"] * 5), []),
    (completions(*map(str, range(20))), []),
    ([], []),
]


@pytest.mark.parametrize(("examples", "native", "what", "fatal"), WEAK)
def test_what_cannot_be_learnt_is_said_with_the_number(examples, native, what, fatal):
    problems = weaknesses(examples, native, {"answer"})
    assert [what in problem.what for problem in problems].count(True) == 1
    assert [problem.fatal for problem in problems if what in problem.what] == [fatal]
    assert all(problem.fix for problem in problems)


@pytest.mark.parametrize(("examples", "native"), WELL)
def test_nothing_is_said_of_data_that_is_well(examples, native):
    assert weaknesses(examples, native, {"answer"}) == []


def test_without_a_verifier_columns_may_hold_one_value():
    assert weaknesses(prompts(*["7"] * 20), []) == []
