"""Linear algebra: answers are right by definition, every line of the work is true, and no matrix is in both splits."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import permutations
from math import prod

import pytest

from rlpipe.core.errors import DataError
from rlpipe.datasets.forms import Completion, Prompt
from rlpipe.datasets.load import data_problems, load
from rlpipe.datasets.samples.elimination import determinant, inverse, reduced_form, solution
from rlpipe.datasets.samples.linear_algebra import TASKS
from rlpipe.rewards.matrix import MatrixReward
from rlpipe.rewards.matrix_reader import read_matrix
from rlpipe.tools.arithmetic import evaluate

REWARD = MatrixReward(MatrixReward.Config(name="matrix"))


def by_definition(matrix) -> Fraction:
    """Return the determinant as the sum over all permutations."""
    size = range(len(matrix))
    return sum(
        (-1) ** sum(order[one] > order[two] for one in size for two in size if one < two)
        * prod(matrix[row][order[row]] for row in size)
        for order in permutations(size)
    )


def times(left, right):
    return tuple(
        tuple(sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*right, strict=True))
        for row in left
    )


def is_reduced(rows) -> bool:
    """Return whether pivots are 1, alone in their columns, each right of the one above, and empty rows last."""
    leads = [next((place for place, value in enumerate(row) if value), None) for row in rows]
    there = [lead for lead in leads if lead is not None]
    return (
        leads == sorted(there) + [None] * (len(rows) - len(there))
        and len(set(there)) == len(there)
        and all(rows[row][lead] == (row == place) for place, lead in enumerate(there) for row in range(len(rows)))
    )


def given(question: str) -> list:
    return [read_matrix(found) for found in re.findall(r"(\[\[.*?\]\]|\[[^\[]*?\])(?=\.| and|$)", question)]


def check(row) -> None:
    """Hold a row's answer against the definition of what is asked."""
    matrix, *beside = given(row["question"])
    answer = read_matrix(row["answer"])
    size = range(len(matrix))
    assert len(matrix) == row["size"]
    if row["task"] == "determinant":
        assert answer == ((by_definition(matrix),),)
    elif row["task"] == "inverse":
        assert times(matrix, answer) == tuple(tuple(int(one == two) for two in size) for one in size)
    elif row["task"] == "solve":
        assert times(matrix, tuple(zip(*answer, strict=True))) == tuple(zip(*beside[0], strict=True))
    else:
        assert is_reduced(answer)
        independent = [row for row in answer if any(row)]
        for original in matrix:  # each row is the sum of the reduced ones, by what it has at their pivots
            leads = [next(place for place, value in enumerate(row) if value) for row in independent]
            whole = [
                sum(original[lead] * row[place] for lead, row in zip(leads, independent, strict=True))
                for place in range(len(original))
            ]
            assert tuple(whole) == original


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_right_by_definition_and_every_line_is_true(make, task) -> None:
    dataset = make("linear_algebra", tasks=[task], sizes=[2, 3, 4])
    for row in dataset.sample("train", 16, 0):
        check(row)
        for line in row["work"].splitlines():
            sides = [side for side in line.split("=") if not re.search(r"[R\[a-z]", side)]
            assert len({evaluate(side) for side in sides}) <= 1, line


@pytest.mark.parametrize(
    ("matrix", "value", "lines"),
    [
        ([[3, 1], [2, 4]], 10, ["R2=3*R2-2*R1", "3*4-2*1=12-2=10", "R2=[0, 10]"]),
        ([[0, 1], [2, 4]], -2, ["swap R1 and R2", "R2=2*R2-0*R1", "2*1-0*4=2-0=2", "R2=[0, 2]",
                              "1 swap: 2 becomes -2"]),
        ([[1, 2], [2, 4]], 0, ["R2=1*R2-2*R1", "1*4-2*2=4-4=0", "R2=[0, 0]", "R2 has no pivot: the determinant is 0"]),
    ],
)  # fmt: skip
def test_a_determinant_worked_out(matrix, value, lines) -> None:
    assert determinant(matrix) == (lines, value)


def test_other_exercises_worked_out() -> None:
    assert inverse([[2, 0], [0, 4]])[1] == [[Fraction(1, 2), 0], [0, Fraction(1, 4)]]
    assert solution([[1, 1], [1, -1]], [3, 1])[1] == [2, 1]
    lines = ["R2=1*R2-2*R1", "1*4-2*2=4-4=0", "1*6-2*3=6-6=0", "R2=[0, 0, 0]"]
    assert reduced_form([[1, 2, 3], [2, 4, 6]]) == (lines, [[1, 2, 3], [0, 0, 0]])
    assert reduced_form([[0, 0, 2], [0, 3, 1]])[1] == [[0, 1, 0], [0, 0, 1]]


def test_the_verifier_takes_the_worked_answers(make, finished_text) -> None:
    dataset = make("linear_algebra")
    for number, row in enumerate(dataset.sample("test", 60, 0)):
        example = dataset.example(row, f"test/{number}")
        text = example.completion[0]["content"]
        assert REWARD.score([finished_text(text, dataset.reward_columns(row))])[0].value == 1.0


@pytest.fixture(scope="module")
def finished_text():
    from rlpipe.engines.rollout import Finish, Rollout

    return lambda text, columns: Rollout(Prompt("0", [], columns), [], [], [], [], text, Finish.stop)


def test_no_matrix_is_in_both_splits_whatever_is_asked_of_it(make) -> None:
    dataset = make("linear_algebra", sizes=[2], entries=[0, 3])  # 256 matrices
    sides = {}
    for split, count in (("train", 700), ("test", 100)):
        rows = list(dataset.sample(split, count, 0))
        assert len({row["question"] for row in rows}) == count
        assert {row["task"] for row in rows} == set(TASKS)
        sides[split] = {tuple(line[:2] for line in given(row["question"])[0]) for row in rows}
    assert len(sides["train"]) > 150
    assert len(sides["test"]) > 15
    assert not sides["train"] & sides["test"]


def test_rows_become_worked_completions_and_prompts(make) -> None:
    dataset = make(
        "linear_algebra", tasks=["determinant"], sizes=[2], entries=[1, 9], instruction="Go.", sample_size=40
    )
    [completions] = {type(one) for one in load(dataset, (Completion,), 0).train.examples}
    assert completions is Completion
    splits = load(dataset, (Prompt,), 0)
    [first, *_] = splits.train.examples
    assert re.fullmatch(r"Find the determinant of \[\[\d, \d\], \[\d, \d\]\]\.\nGo\.", first.prompt[0]["content"])
    assert set(first.columns) == {"answer", "task", "steps", "reference"}  # the last is every prompt's
    assert (first.columns["task"], first.columns["steps"]) == ("determinant", 3)
    assert (len(splits.train.examples), len(splits.test.examples)) == (40, 5)


def test_the_same_rows_for_a_seed_and_sizes_and_entries_as_set(make) -> None:
    dataset = make("linear_algebra", sizes=[3], entries=[-2, 7], tasks=["inverse", "rref"])
    rows = list(dataset.sample("train", 30, 0))
    assert rows == list(dataset.sample("train", 30, 0))
    assert rows != list(dataset.sample("train", 30, 1))
    numbers = [value for row in rows for line in given(row["question"])[0] for value in line]
    assert {min(numbers), max(numbers)} == {-2, 7}


def test_own_rows_are_read(make, write) -> None:
    row = {"question": "Find the determinant of [[2]].", "work": "It is alone.", "answer": "2"}
    dataset = make("linear_algebra", source=str(write([row])))
    assert data_problems(dataset) == []
    assert dataset.reward_columns(row) == {"answer": "2", "steps": 1}
    with pytest.raises(ValueError, match="not text"):
        dataset.example({**row, "answer": 2}, "0")


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"tasks": []}, "dataset.tasks"),
        ({"tasks": ["determinant", "invers"]}, "dataset.tasks"),
        ({"sizes": []}, "dataset.sizes"),
        ({"entries": [1]}, "dataset.entries"),
        ({"entries": [2, 2]}, "dataset.entries"),
    ],
)
def test_settings_that_leave_no_exercises(make, settings, where) -> None:
    [problem] = make("linear_algebra", **settings).problems()
    assert problem.where == where
    assert "invers" not in str(settings) or "did you mean 'inverse'" in problem.fix


def test_a_task_that_has_no_more_exercises_says_so(make) -> None:
    dataset = make("linear_algebra", tasks=["determinant"], sizes=[2], entries=[0, 1])
    with pytest.raises(DataError, match=r"has only about 1\d different train rows"):
        list(dataset.sample("train", 16, 0))
