"""The search that solves Countdown: what it writes is true, reaches the target, and can be handed to the calculator."""

from __future__ import annotations

import re
from fractions import Fraction
from random import Random

import pytest

from rlpipe.datasets import countdown_search
from rlpipe.datasets.base import LoadReport, Split
from rlpipe.datasets.countdown_search import solve, trace
from rlpipe.datasets.forms import Completion
from rlpipe.rewards.countdown import CountdownReward, last_answer
from rlpipe.tools.arithmetic import calculate, evaluate
from rlpipe.tools.calculator import Calculator
from rlpipe.tools.tool_calls import with_calls

REWARD = CountdownReward(CountdownReward.Config(name="countdown"))


def solvable(seed: int) -> tuple[list[int], int]:
    """Draw three or four numbers, and a target that some of their sums, differences and products make."""
    rng = Random(seed)
    while True:
        nums = [rng.randint(1, 99) for _ in range(rng.choice((3, 4)))]
        signs = [rng.choice("+-*") for _ in nums[1:]]
        text = str(nums[0]) + "".join(f"{sign}{number}" for sign, number in zip(signs, nums[1:], strict=True))
        if 0 < (target := int(evaluate(text))) < 1000:
            return nums, target


@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_is_true_and_reaches_the_target(seed):
    nums, target = solvable(seed)
    text = trace(nums, target)
    assert text == trace(nums, target)
    found = calculate(last_answer(text))
    assert found.value == target
    assert sorted(found.numbers) == sorted(nums)
    *tries, last = re.search(r"<think>\n(.*)\n</think>", text, re.S)[1].splitlines()
    for line in (*tries, last):
        steps, _, verdict = line.partition(": ")
        assert verdict == ("" if line is last else f"not {target}")
        assert len(steps.split("; ")) == len(nums) - 1
        for equation in steps.split("; "):
            left, right = equation.split(" = ")
            assert evaluate(left) == evaluate(right)
        assert (evaluate(right) == target) == (line is last)


def test_traces_have_tries_or_none():
    tries = {trace(*solvable(seed)).count("not ") for seed in range(40)}
    assert {0, 1, 2} <= tries


@pytest.mark.parametrize(
    ("nums", "target", "answer"),
    [
        ([8, 3, 8, 3], 24, "8 / (3 - 8 / 3)"),
        ([1, 5, 5, 5], 24, "(5 - 1 / 5) * 5"),
        ([5], 5, "5"),
        ([1, 2], -1, None),
        ([1, 1, 1, 1], 99, None),
        ([5], 6, None),
        ([3, 0], 0, "3 * 0"),
    ],
)
def test_puzzles_that_need_fractions_or_have_no_solution(nums, target, answer):
    if answer is None:
        with pytest.raises(ValueError, match="the search finds no solution"):
            trace(nums, target)
    else:
        assert evaluate(last_answer(trace(nums, target))) == target == evaluate(answer)


def test_a_search_gives_up(monkeypatch):
    monkeypatch.setattr(countdown_search, "MOST_STEPS", 50)
    with pytest.raises(ValueError, match="the search finds no solution within 50 steps"):
        solve((97, 89, 83, 79), 99_999)


def test_the_calculator_works_out_the_steps():
    example = Completion(
        "0", [{"role": "user", "content": "?"}], [{"role": "assistant", "content": trace([44, 19, 35], 98)}]
    )
    steps = example.completion[0]["content"].count(" = ")
    calculator = Calculator(Calculator.Config(name="calculator", max_calls=20))
    split = with_calls(Split([example], LoadReport("train", "", "")), [calculator])
    assert split.report.notes == [f"tool calls: {steps}, in 1 of 1 examples"]
    results = [Fraction(turn["content"]) for turn in split.examples[0].completion if turn["role"] == "tool"]
    assert results[-1] == 98
