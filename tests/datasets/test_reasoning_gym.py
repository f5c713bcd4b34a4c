"""reasoning-gym's tasks: a stand-in for the package where only rlpipe's side is looked at, and the package itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from rlpipe.core.errors import DataError
from rlpipe.datasets.reasoning_gym import LEFT_OUT, TASKS, ReasoningGym, ReasoningGymConfig


def made(**settings: Any) -> ReasoningGym:
    return ReasoningGym(ReasoningGymConfig(**{"name": "reasoning_gym", "task": "leg_counting", **settings}))


class Legs(list):
    """A task of a few questions, some of them twice, which takes numbers from the process too."""

    def __init__(self, seed: int, size: int, many: int = 500, hard: int = 1):
        import random

        assert hard > 0, "hard must be positive"
        super().__init__(
            {"question": f"{seed} {number // 2}?", "answer": str(random.random()), "metadata": {}, "more": 1}
            for number in range(min(many, size))
        )


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("reasoning_gym")
    module.create_dataset = lambda name, **settings: Legs(**settings)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reasoning_gym", module)


@pytest.mark.usefixtures("package")
def test_questions_are_different_repeat_and_stand_in_one_split():
    rows = {split: list(made().sample(split, 20, 0)) for split in ("train", "test")}
    assert rows == {split: list(made().sample(split, 20, 0)) for split in ("train", "test")}
    questions = {split: {row["question"] for row in rows[split]} for split in rows}
    assert [len(found) for found in questions.values()] == [20, 20]
    assert not questions["train"] & questions["test"]
    assert set(rows["train"][0]) == {"question", "answer", "metadata"}
    assert list(made().sample("train", 1, 1)) != rows["train"][:1]


@pytest.mark.usefixtures("package")
def test_the_prompt_asks_and_the_reward_gets_the_whole_entry():
    dataset = made(prompt="Q: {question} A:", options={"hard": 2})
    [row] = dataset.sample("train", 1, 0)
    prompt = dataset.example(row, "train/0")
    assert prompt.prompt[0]["content"] == f"Q: {row['question']} A:"
    assert prompt.columns == {"entry": {"task": "leg_counting", "options": {"hard": 2}, **row}}


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("options", "count", "where", "what"),
    [
        ({"hard": 0}, 1, "dataset.options", "leg_counting refuses its settings: hard must be positive"),
        ({"harder": 1}, 1, "dataset.options", "unexpected keyword argument 'harder'"),
        ({"many": 10}, 9, "dataset.sample_size", "has no more than 10 questions"),
    ],
)
def test_what_the_task_refuses_is_said(options, count, where, what):
    with pytest.raises(DataError) as error:
        list(made(options=options).sample("train", count, 0))
    assert error.value.where == where
    assert what in error.value.what


def test_checks_name_the_task_the_package_and_the_wording(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = {one.where: one for one in made(task="leg_count", prompt="?", source="hub").problems()}
    assert set(found) == {"dataset.task", "dataset", "dataset.prompt", "dataset.source"}
    assert "did you mean 'leg_counting'?" in found["dataset.task"].fix
    assert found["dataset"].fix == "pip install 'rlpipe[reasoning_gym]'"
    [left_out, _] = made(task="simple_integration").problems()
    assert "hands the model's text to sympy's parser" in left_out.what
    assert "names no task" in made(task="").problems()[0].what
    with pytest.raises(DataError, match="reasoning-gym is not installed"):
        list(made().sample("train", 1, 0))


def test_the_lists_are_those_of_the_package():
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    from reasoning_gym.factory import DATASETS

    assert set(DATASETS) == {*TASKS, *LEFT_OUT}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_makes_questions_and_knows_its_answers(task):
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    from rlpipe.rewards.reasoning_gym_worker import score

    dataset = made(task=task)
    rows = list(dataset.sample("train", 2, 0))
    assert rows == list(dataset.sample("train", 2, 0))
    for row in rows:
        entry = dataset.reward_columns(row)["entry"]
        if row["answer"] is not None:
            assert score(row["answer"], entry) == {"score": 1.0, "failed": False}
        assert score("surely wrong", entry)["score"] < 1
