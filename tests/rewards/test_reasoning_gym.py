"""Scorers of reasoning-gym: those that would run the model's text are replaced; the others run behind a guard."""

from __future__ import annotations

import sys

import pytest

from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout, Score
from rlpipe.rewards.reasoning_gym import ReasoningGymReward, ReasoningGymRewardConfig
from rlpipe.rewards.reasoning_gym_worker import score
from rlpipe.testing import check_reward

ENTRIES = {
    "puzzle24": {"metadata": {"numbers": [8, 4, 7, 1]}, "answer": ""},
    "countdown": {"metadata": {"numbers": [94, 61, 6, 4], "target": 309}, "answer": ""},
    "spiral_matrix": {"metadata": {}, "answer": "1 2 3 4"},
    "string_insertion": {"metadata": {}, "answer": "ABBA"},
    "binary_matrix": {"metadata": {}, "answer": "1 0\n0 1"},
    "game_of_life_halting": {"metadata": {}, "answer": "False"},
    "n_queens": {"metadata": {"valid_answers": ["_ Q\nQ _"]}, "answer": "_ Q\nQ _"},
}
RIGHT = {
    "puzzle24": "(8 - 4)*(7 - 1)", "countdown": "94*4 - 61 - 6", "spiral_matrix": "1 2 3 4",
    "string_insertion": "ABBA", "binary_matrix": "1 0 \n0 1", "n_queens": "_ Q\nQ _", "game_of_life_halting": "False",
}  # fmt: skip
WRONG = ("24", "True", "309", "8*3", "[[1, 0], [0, 1]]", "['A']", "", "9**9**9**9", "(" * 3000)


def entry(task: str) -> dict:
    return {"task": task, "options": {}, "question": "", **ENTRIES[task]}


@pytest.mark.parametrize("task", ENTRIES)
def test_scorers_of_our_own_run_nothing(task, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)  # nor do they ask the package
    assert score(RIGHT[task], entry(task)) == {"score": 1.0, "failed": False}
    trap = f"__import__('pathlib').Path({str(tmp_path / 'trap')!r}).touch() or [1]"
    for text in (*WRONG, trap):
        assert score(text, entry(task)) == {"score": 0.0, "failed": False}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["1e999999999", "1/1e9", "half", "-1"])
def test_numbers_of_a_billion_digits_are_not_written_down(text, monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    given = {"task": "coin_flip", "options": {}, "answer": "0.5", "metadata": {}, "question": ""}
    assert score(text, given) == {"score": 0.0, "failed": False}


class Asked:
    """Stands in for the guarded process."""

    def __init__(self, answer):
        self.answer, self.questions = answer, []

    def ask(self, question, timeout):
        self.questions.append(question)
        return self.answer


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("<answer> 4 </answer>", {"score": 1.0, "failed": False}, Score(1.0, {"failed": 0.0, "timed_out": 0.0})),
        ("<answer>4</answer>", {"score": 0.0, "failed": True}, Score(0.0, {"failed": 1.0, "timed_out": 0.0}, False)),
        ("<answer>4</answer>", {"late": True}, Score(0.0, {"failed": 0.0, "timed_out": 1.0}, False)),
        ("<answer>4</answer>", None, Score(0.0, {"failed": 0.0, "timed_out": 1.0}, False)),
        ("4", None, Score(0.0, {"failed": 0.0, "timed_out": 0.0}, False)),
        (f"<answer>{'4' * 10_001}</answer>", None, Score(0.0, {"failed": 0.0, "timed_out": 0.0}, False)),
    ],
)
def test_what_becomes_of_an_answer(text, answer, expected):
    reward = ReasoningGymReward(ReasoningGymRewardConfig(name="reasoning_gym"))
    reward.guard = Asked(answer)
    one = Rollout(Prompt("train/0", [], {"entry": entry("puzzle24")}), [], [], [], [], text, Finish.stop)
    assert reward.score([one]) == [expected]
    assert [question["answer"] for question in reward.guard.questions] == ["4"] * (len(text) < 100 and "<" in text)


def test_it_conforms():
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    check_reward(ReasoningGymReward)
