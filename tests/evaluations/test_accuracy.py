"""Accuracy on completions made by hand, and on what a model with made-up weights really writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlpipe.config.resolved import resolve
from rlpipe.core.errors import PluginError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout, ToolCall
from rlpipe.evaluations import accuracy
from rlpipe.evaluations.accuracy import Accuracy, AccuracyConfig, exact_beside, verifier
from rlpipe.evaluations.base import EvaluationContext
from rlpipe.rewards.judge.judge import Judge
from rlpipe.rewards.judge.verification import Opinion, Same
from rlpipe.run.check.check import problems
from tests.composed import compose

RIGHT, WRONG, UNREADABLE = "<answer>3 + 5</answer>", "<answer>5 - 3</answer>", "eight"


def tasks(count: int) -> list[Prompt]:
    asked = [{"role": "user", "content": "Make 8 of 3 and 5."}]
    return [Prompt(f"test/{number}", asked, {"nums": [3, 5], "target": 8}) for number in range(count)]


def made(folder: Path, *overrides: str, **settings: object) -> Accuracy:
    one = Accuracy(AccuracyConfig(name="accuracy", **settings))
    one.start(
        EvaluationContext(
            compose("method=none", "dataset=countdown", "evaluation=accuracy", *overrides), folder, "accuracy"
        )
    )
    return one


class Script:
    """Stands in for the sampler: says what it is told to, and notes how it was asked."""

    def __init__(self, greedy: list[str], drawn: list[list[str]] | None = None, without_tools: list[str] | None = None):
        self.greedy, self.drawn, self.without_tools = greedy, drawn, without_tools
        self.asked: list[tuple[float, int, int, int, int]] = []

    def __call__(self, loaded, prompts, sampling, tools=(), count=1, seed=0, environments=None):
        self.asked.append((sampling.temperature, sampling.max_tokens, len(tools), count, seed))
        if sampling.temperature == 0:
            said = [[text] for text in (self.greedy if tools or not self.without_tools else self.without_tools)]
        else:
            said = self.drawn
        pairs = zip(prompts, said, strict=True)
        return [[self.rollout(prompt, text, tools) for text in group] for prompt, group in pairs]

    @staticmethod
    def rollout(prompt, text, tools):
        calls = [ToolCall("calculator", {"expression": "3+"}, "error: …", True, 2)] if tools else []
        finish = Finish.stop if "<" in text else Finish.length
        return Rollout(prompt, [1], [2] * len(text), [0.0] * len(text), [True] * len(text), text, finish, calls)


def test_greedy_completions_are_counted_by_the_verifier(monkeypatch, tmp_path, blank_loaded):
    script = Script([RIGHT, WRONG, UNREADABLE, RIGHT])
    monkeypatch.setattr(accuracy, "complete", script)
    one = made(tmp_path)
    rows = one.rows(blank_loaded, tasks(4))
    assert [row["score"] for row in rows] == [1.0, 0.0, 0.0, 1.0]
    assert [row["id"] for row in rows] == ["test/0", "test/1", "test/2", "test/3"]
    assert rows[1]["completion"] == WRONG
    assert rows[0]["prompt"] == "Make 8 of 3 and 5."
    numbers = one.summary(rows, None)
    assert numbers["accuracy"] == 0.5
    assert numbers["accuracy_low"] < 0.5 < numbers["accuracy_high"]
    assert numbers["value"] == pytest.approx(2.1 / 4)
    assert numbers["unparsed"] == numbers["ended_by_length"] == 0.25
    assert numbers["length"] == pytest.approx((2 * len(RIGHT) + len(WRONG) + len(UNREADABLE)) / 4)
    assert "tool_calls" not in numbers
    assert script.asked == [(0.0, 256, 0, 1, 0)]


def test_drawn_completions_give_unbiased_pass_at_k(monkeypatch, tmp_path, blank_loaded):
    script = Script([WRONG, WRONG], [[RIGHT, RIGHT, WRONG, WRONG], [WRONG, UNREADABLE, WRONG, RIGHT]])
    monkeypatch.setattr(accuracy, "complete", script)
    one = made(tmp_path, samples=4, k=[1, 2, 4], seed=7)
    rows = one.rows(blank_loaded, tasks(2))
    numbers = one.summary(rows, None)
    assert numbers["accuracy"] == 0
    assert numbers["pass@1"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert numbers["pass@2"] == pytest.approx(((1 - 1 / 6) + (1 - 3 / 6)) / 2)
    assert numbers["pass@4"] == 1
    assert [sample["right"] for sample in rows[1]["samples"]] == [False, False, False, True]
    assert script.asked == [(1.0, 256, 0, 4, 7), (0.0, 256, 0, 1, 7)]


def test_without_greedy_the_score_is_the_share_of_right_samples(monkeypatch, tmp_path, blank_loaded):
    monkeypatch.setattr(accuracy, "complete", Script([], [[RIGHT, WRONG, WRONG, WRONG]]))
    one = made(tmp_path, samples=4, greedy=False)
    rows = one.rows(blank_loaded, tasks(1))
    numbers = one.summary(rows, None)
    assert rows[0]["score"] == numbers["accuracy"] == 0.25
    assert numbers["value"] == pytest.approx(1.3 / 4)
    assert set(rows[0]["pass"]) == {"1", "4"}


def test_with_a_tool_the_score_without_it_stands_beside(monkeypatch, tmp_path, blank_loaded):
    script = Script([RIGHT, RIGHT], without_tools=[RIGHT, WRONG])
    monkeypatch.setattr(accuracy, "complete", script)
    one = made(tmp_path, "tool=calculator")
    numbers = one.summary(one.rows(blank_loaded, tasks(2)), None)
    assert (numbers["accuracy"], numbers["accuracy_without_tool"]) == (1.0, 0.5)
    assert (numbers["tool_calls"], numbers["tool_errors"]) == (1.0, 1.0)
    assert [tools for _, _, tools, _, _ in script.asked] == [1, 0]
    off = made(tmp_path, "tool=calculator", tool=False)
    script.asked.clear()
    assert "accuracy_without_tool" not in off.summary(off.rows(blank_loaded, tasks(2)), None)
    assert [tools for _, _, tools, _, _ in script.asked] == [0]


def test_both_ways_of_reading_gsm8k_are_reported(monkeypatch, tmp_path, blank_loaded):
    monkeypatch.setattr(accuracy, "complete", Script(["#### 8", "It is 8.", "#### 8 of 9"]))
    one = made(tmp_path, "dataset=gsm8k")
    prompts = [Prompt(task.id, task.prompt, {"answer": "8"}) for task in tasks(3)]
    numbers = one.summary(one.rows(blank_loaded, prompts), None)
    assert numbers["accuracy"] == numbers["strict"] == pytest.approx(2 / 3)
    assert numbers["flexible"] == pytest.approx(2 / 3)
    assert numbers["unparsed"] == pytest.approx(1 / 3)


JUDGED = ["reward=judge", "reward.judge.url=http://127.0.0.1:9/v1", "reward.judge.model=m", "reward.judge.mode=verify"]


def test_a_judge_verifies_with_reasons_and_its_agreement_with_the_exact_verifier(monkeypatch, tmp_path, blank_loaded):
    said = {"#### 8": Same.yes, "eight": Same.yes, "#### 9": Same.no, "#### 7": Same.yes}
    monkeypatch.setattr(Judge, "_opinions", lambda self, pairs: [Opinion(said[one.first], "So.") for one in pairs])
    monkeypatch.setattr(accuracy, "complete", Script([*said, "#### 8"]))
    one = made(tmp_path, "dataset=gsm8k", *JUDGED, reward="judge")
    answers = ["8", "8", "8", "8", "some"]  # the exact verifier cannot read the last
    prompts = [
        Prompt(task.id, task.prompt, {"answer": answer, "reference": "2 * 4\n#### 8"})
        for task, answer in zip(tasks(5), answers, strict=True)
    ]
    rows = one.rows(blank_loaded, prompts)
    assert [row["right"] for row in rows] == [True, True, False, True, True]
    assert [row.get("exact") for row in rows] == [True, False, False, False, None]
    assert rows[0]["reason"] == "So."
    numbers = one.summary(rows, None)
    assert (numbers["accuracy"], numbers["exact_accuracy"], numbers["agreement"]) == (0.8, 0.25, 0.5)
    protocol = one.protocol(blank_loaded)
    assert (protocol["verifier"]["name"], protocol["exact"]["name"]) == ("judge", "gsm8k")
    assert one.verifier is not None
    one.finish(rows, "before")
    assert one.verifier is None


@pytest.mark.parametrize(
    ("overrides", "beside"),
    [
        (["dataset=gsm8k", *JUDGED], "gsm8k"),
        (["dataset=gsm8k", *JUDGED, "reward=[judge,math]"], "math"),
        (["dataset=ultrafeedback", *JUDGED], None),
        (["dataset=gsm8k", *JUDGED, "reward=[frozen_answer,judge]"], "gsm8k"),
        (["dataset=gsm8k", "reward=frozen_answer"], "gsm8k"),
        (["dataset=gsm8k", "reward=gsm8k"], None),
    ],
)
def test_an_exact_verifier_is_counted_beside_a_judge_alone(overrides, beside):
    run = resolve(compose("method=rloo", *overrides))
    found = exact_beside(verifier("judge" if "judge" in run.config.reward else None, run), run)
    assert (found and found.config.name) == beside


def test_the_verifier_is_the_runs_own_then_the_datasets():
    def chosen(*overrides: str, named: str | None = None):
        found = verifier(named, resolve(compose("method=rloo", *overrides)))
        return None if found is None else found.config

    own = chosen("dataset=countdown", "reward=[length,countdown]", "reward.countdown.format_score=0.2")
    assert (own.name, own.format_score) == ("countdown", 0.2)
    assert chosen("dataset=gsm8k", "reward=length").name == "gsm8k"
    assert chosen("dataset=ultrafeedback", "reward=length") is None
    assert chosen("dataset=gsm8k", "reward=gsm8k", named="math").name == "math"
    with pytest.raises(PluginError, match="did you mean 'countdown'"):
        chosen("dataset=countdown", "reward=length", named="countdwn")


@pytest.mark.parametrize(
    ("overrides", "where", "words"),
    [
        (["dataset=ultrafeedback"], "evaluation.accuracy", "no reward tells right answers of dataset ultrafeedback"),
        (["dataset=gsm8k", "evaluation.accuracy.reward=countdown"], "evaluation.accuracy", "'nums'"),
        (["dataset=gsm8k", "evaluation.accuracy.reward=gsm9k"], "evaluation.accuracy", "did you mean 'gsm8k'"),
        (["dataset=gsm8k", "evaluation.accuracy.reward=length"], "evaluation.accuracy", "does not say what is right"),
        (["evaluation.accuracy.samples=2", "evaluation.accuracy.k=[4]"], "evaluation.accuracy.k", "pass@4"),
        (["evaluation.accuracy.greedy=false"], "evaluation.accuracy.samples", "nothing is drawn"),
        (["evaluation.accuracy.sampling.top_p=0"], "evaluation.accuracy.sampling.top_p", "out of range"),
    ],
)
def test_what_cannot_work_is_found_before_anything_starts(overrides, where, words):
    named = [] if overrides[0].startswith("dataset=") else ["dataset=countdown"]
    asked = ["model=blank", "method=none", "evaluation=accuracy", *named, *overrides]
    found = [problem for problem in problems(compose(*asked), asked) if problem.fatal]
    assert [problem.where for problem in found] == [where]
    assert words in str(found[0])


def test_a_tool_needs_someone_who_uses_it():
    def fatal(*overrides: str) -> list[str]:
        asked = ["model=blank", "method=none", "dataset=countdown", *overrides]
        return [problem.where for problem in problems(compose(*asked), asked) if problem.fatal]

    assert fatal("evaluation=accuracy", "tool=calculator", "reward=countdown") == []
    assert fatal("evaluation=none", "tool=calculator", "reward=countdown") == ["evaluation", "reward", "tool"]


def test_shares_of_the_examples_give_the_rows_of_all(tmp_path, blank_loaded):
    """What each of several processes measures is what one would; nothing depends on the batch."""
    one = made(tmp_path, samples=2, sampling=accuracy.DrawConfig(max_tokens=12))
    prompts = [
        Prompt(task.id, [{"role": "user", "content": "Make 8. " * (1 + number % 3)}], task.columns)
        for number, task in enumerate(tasks(6))
    ]
    whole = one.rows(blank_loaded, prompts)
    shares = [one.rows(blank_loaded, prompts[rank::2]) for rank in range(2)]
    assert [row["completion"] for row in whole[0::2]] == [row["completion"] for row in shares[0]]
    assert [row["samples"] for row in whole[1::2]] == [row["samples"] for row in shares[1]]
    assert len({sample["completion"] for row in whole for sample in row["samples"]}) > 6


def test_episodes_are_played_and_counted(tmp_path, blank_loaded):
    overrides = ["dataset=episodes", "environment=guessing", "evaluation=accuracy"]
    drawn = [
        "evaluation.accuracy={samples: 3, greedy: false}",
        "evaluation.accuracy.sampling={stop: [a,e,i,o], max_tokens: 90}",
    ]
    config = compose("method=none", *overrides, *drawn)
    one = Accuracy(config.evaluation["accuracy"])
    one.start(EvaluationContext(config, tmp_path, "accuracy"))
    prompts = [Prompt(f"test/{row}", [{"role": "user", "content": "Play."}], {"episode": row}) for row in range(2)]
    rows = one.rows(blank_loaded, prompts)
    assert rows[0]["prompt"] == "Play.\n\nGuess my number from 1 to 7 in 3 guesses."
    episodes = [sample["episode"] for row in rows for sample in row["samples"]]
    assert max(map(len, episodes)) > 1
    assert episodes[0][0]["messages"][0]["role"] == "user"
    numbers = one.summary(rows, None)
    assert {"accuracy", "pass@3", "won", "guesses", "turns", "finished"} <= set(numbers)
    assert one.protocol(blank_loaded)["environment"]["name"] == "guessing"


def test_a_prompt_that_fills_the_context_is_an_episode_of_no_turns(tmp_path, blank_loaded):
    from rlpipe.engines.rollout import SamplingConfig
    from rlpipe.evaluations.completions import complete

    config = compose("method=none", "dataset=episodes", "environment=guessing", "evaluation=accuracy")
    long = Prompt("test/0", [{"role": "user", "content": "play " * 2000}])
    environments = resolve(config).environments
    [[one]] = complete(blank_loaded, [long], SamplingConfig(temperature=0), environments=environments)
    assert (one.turns, one.finish) == ([], Finish.length)
