"""Win rates on responses made by hand, on rewards whose choice is known, and on a judge that goes by the order."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout, Score
from rlpipe.evaluations import win_rate
from rlpipe.evaluations.base import EvaluationContext
from rlpipe.evaluations.verdicts import by_comparison, by_score, notes, numbers
from rlpipe.evaluations.win_rate import WinRate, WinRateConfig
from rlpipe.rewards.base import Reward
from rlpipe.rewards.judge.pairwise import Choice
from rlpipe.rewards.length import Length
from rlpipe.run.check.check import problems
from tests.composed import compose, once


def prompts(count: int) -> list[Prompt]:
    said = [[{"role": "user", "content": f"Say {number}."}] for number in range(count)]
    return [Prompt(f"test/{n}", asked, {"reference": f"{n} it is"}) for n, asked in enumerate(said)]


def said(prompt: Prompt, text: str) -> Rollout:
    return Rollout(prompt, [1], [2] * len(text), [0.0] * len(text), [True] * len(text), text, Finish.stop)


class Fixed:
    """Rewards that are written into the text: the number that it ends with."""

    def score(self, rollouts):
        for one in rollouts:
            one.scores = {"own": Score(float(one.text.split()[-1]))}
            one.reward = 2 * one.scores["own"].value


class Order(Reward):
    """Compares by a rule about the two texts as they are shown."""

    def __init__(self, rule):
        self.rule, self.asked = rule, 0

    def score(self, rollouts):
        raise NotImplementedError

    def prefer(self, pairs):
        self.asked += len(pairs)
        return [self.rule(pair.first, pair.second) for pair in pairs]


def longer(first: str, second: str) -> Choice:
    return Choice.tie if len(first) == len(second) else Choice.first if len(first) > len(second) else Choice.second


def judged(rule, ours: list[str], theirs: list[str]):
    asked = prompts(len(ours))
    pairs = [[said(prompt, text) for prompt, text in zip(asked, texts, strict=True)] for texts in (ours, theirs)]
    return by_comparison(Order(rule), *pairs)


def test_the_higher_reward_wins():
    asked = prompts(4)
    ours = [said(prompt, text) for prompt, text in zip(asked, ["a 3", "b 1", "c 2", "same 2"], strict=True)]
    theirs = [said(prompt, text) for prompt, text in zip(asked, ["x 1", "y 2.5", "zzz 2", "same 2"], strict=True)]
    rows = by_score(Fixed(), "own", ours, theirs)
    assert [row["verdict"] for row in rows] == ["win", "loss", "tie", "tie"]
    found = numbers(rows)
    assert (found["win"], found["tie"], found["loss"], found["win_rate"]) == (0.25, 0.5, 0.25, 0.5)
    assert (found["reward"], found["reference_reward"]) == (2.0, pytest.approx(7.5 / 4))
    assert found["reward_improvement"] == pytest.approx(0.125)
    assert found["length_ratio"] == pytest.approx((3 + 3 + 3 + 6) / (3 + 5 + 5 + 6))
    assert by_score(Fixed(), None, ours, theirs)[0]["parts"]["reward"] == 6.0, "the sum of all, as training has it"


def test_texts_that_are_the_same_are_a_tie_whatever_rounding_says():
    (prompt,) = prompts(1)
    rewards = Fixed()
    rewards.score = lambda rollouts: [setattr(one, "reward", n * 1e-3) for n, one in enumerate(rollouts)]
    (row,) = by_score(rewards, None, [said(prompt, "x")], [said(prompt, "x")])
    assert row["verdict"] == "tie"


def test_a_judge_is_asked_in_both_orders():
    rows = judged(longer, ["aaaa", "b", "cc", "dd"], ["x", "yyyy", "zz", "dd"])
    assert [row["verdict"] for row in rows] == ["win", "loss", "tie", "tie"]
    assert rows[0]["orders"] == ["first", "second"]
    assert "orders" not in rows[3], "nobody is asked about two texts that are the same"
    found = numbers(rows)
    assert "reward" not in found
    assert (found["comparisons"], found["first_answer_rate"], found["order_consistency"]) == (3, 0.5, 1.0)
    assert notes(rows) == []


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), min_size=1, max_size=12), st.integers(0, 99))
def test_changing_sides_turns_wins_into_losses(ours, seed):
    theirs = random.Random(seed).choices(["a", "bb", "ccc", "dddd"], k=len(ours))
    here, there = judged(longer, ours, theirs), judged(longer, theirs, ours)
    assert [row["score"] for row in here] == [1 - row["score"] for row in there]
    assert numbers(here)["win_rate"] == pytest.approx(1 - numbers(there)["win_rate"])


def test_a_judge_that_always_names_the_first_answer_decides_nothing_and_is_told_of():
    rows = judged(lambda first, second: Choice.first, list("abcdefgh"), list("ijklmnop"))
    found = numbers(rows)
    assert (found["tie"], found["first_answer_rate"], found["order_consistency"]) == (1.0, 1.0, 0.0)
    (note,) = notes(rows)
    assert "first answer" in note


def test_replies_that_nobody_can_read_are_ties_and_counted():
    rows = judged(lambda first, second: None, ["a", "b"], ["c", "d"])
    assert [row["verdict"] for row in rows] == ["tie", "tie"]
    assert numbers(rows)["unreadable"] == 2


def test_lengths_that_never_overlap_are_told_of():
    rows = judged(longer, ["aaaa", "bbb", "ccccc"], ["x", "y", "z"])
    (note,) = notes(rows)
    assert "every response is longer" in note


def made(folder: Path, *overrides: str, **settings: object) -> WinRate:
    one = WinRate(WinRateConfig(name="win_rate", sampling=win_rate.LikeliestConfig(max_tokens=5), **settings))
    asked = ["method=dpo", "dataset=ultrafeedback", "evaluation=win_rate", "reward=length", *overrides]
    one.start(EvaluationContext(compose(*asked), folder, "win_rate"))
    return one


def test_before_training_the_policy_ties_with_itself(tmp_path, blank_loaded):
    one = made(tmp_path)
    rows = one.rows(blank_loaded, prompts(3))
    assert [(row["verdict"], row["completion"] == row["reference"]) for row in rows] == [("tie", True)] * 3
    kept = (tmp_path / "evaluations" / "win_rate.reference" / "responses.jsonl").read_text().splitlines()
    assert len(kept) == 3


def test_a_references_responses_are_drawn_once(tmp_path, blank_loaded, monkeypatch):
    one = made(tmp_path)
    rows = one.rows(blank_loaded, prompts(2))
    one.finish(rows, "before")
    again = made(tmp_path)
    monkeypatch.setattr(again.references, "_load", lambda policy: pytest.fail("the model was loaded again"))
    file = tmp_path / "evaluations" / "win_rate.reference" / "responses.jsonl"
    file.write_text(file.read_text() + '{"id": "test/2", "resp')  # what a kill leaves
    assert [row["reference"] for row in again.rows(blank_loaded, prompts(2))] == [row["reference"] for row in rows]
    assert len(file.read_text().splitlines()) == 2


def test_the_datasets_own_answers_may_be_the_reference(tmp_path, blank_loaded):
    one = made(tmp_path, against=win_rate.Against.dataset)
    rows = one.rows(blank_loaded, prompts(2))
    assert [row["reference"] for row in rows] == ["0 it is", "1 it is"]
    judge = Length(Length.Config(name="length"))
    mine, other = (judge.score([said(prompts(2)[1], text)])[0].value for text in (rows[1]["completion"], "1 it is"))
    assert (rows[1]["parts"]["reward"], rows[1]["parts"]["reference_reward"]) == (mine, other)


@pytest.mark.slow
def test_the_protocol_tells_references_and_judges_apart(tmp_path, blank_loaded, small_model):
    plain = made(tmp_path).protocol(blank_loaded)
    assert plain == made(tmp_path / "elsewhere").protocol(blank_loaded)
    changed = {
        "reference": made(tmp_path, model=str(small_model)),
        "judge": made(tmp_path, "reward.length.words=7"),
        "settings": made(tmp_path, against=win_rate.Against.dataset),
    }
    for key, one in changed.items():
        assert one.protocol(blank_loaded).get(key) != plain[key]
    drawn = made(tmp_path)
    drawn.sampling.temperature = 1.0
    assert drawn.protocol(blank_loaded)["seed"] == 0, "the seed counts where something is drawn"
    assert plain["seed"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "where", "words"),
    [
        (["reward=none"], "evaluation.win_rate", "no reward says which response is better"),
        (["evaluation.win_rate.pairwise=true"], "evaluation.win_rate", "length does not"),
        (["method=none"], "evaluation.win_rate", "compared with itself"),
        (["evaluation.win_rate.reward=lengt"], "evaluation.win_rate", "did you mean 'length'"),
        (["evaluation.win_rate.reward=reward_model"], "evaluation.win_rate", "has no settings in this run"),
        (["evaluation.win_rate.model=./nowhere"], "evaluation.win_rate.model", "there is no folder"),
        (["evaluation.win_rate.revision=main"], "evaluation.win_rate.revision", "none is named"),
        (
            ["evaluation.win_rate.against=dataset", "evaluation.win_rate.model=some/model"],
            "evaluation.win_rate.against",
            "a reference model is named too",
        ),
        (["evaluation.win_rate.sampling.top_p=2"], "evaluation.win_rate.sampling.top_p", "out of range"),
        (
            ["dataset=countdown", "method=none", "evaluation.win_rate.against=dataset"],
            "evaluation.win_rate",
            "reference",
        ),
    ],
)
def test_what_cannot_work_is_found_before_anything_starts(overrides, where, words):
    usual = ("model=blank", "method=dpo", "dataset=ultrafeedback", "reward=length", "evaluation=win_rate")
    asked = once(*usual, *overrides)
    found = [problem for problem in problems(compose(*asked), asked) if problem.fatal]
    found = [problem for problem in found if "the local cache has no copy" not in problem.what]
    assert [problem.where for problem in found] == [where]
    assert words in str(found[0])
