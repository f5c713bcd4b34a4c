"""Warm-start traces of a solver: of Countdown's own puzzles, asked as there, held out as there."""

from __future__ import annotations

from random import Random

import pytest

from rlpipe.config.compose import compose
from rlpipe.config.resolved import resolve
from rlpipe.core.errors import DataError
from rlpipe.datasets.countdown import asked, key
from rlpipe.datasets.forms import Completion, Prompt
from rlpipe.datasets.load import data_problems, load
from rlpipe.rewards.countdown import CountdownReward
from rlpipe.stages.data import data

REWARD = CountdownReward(CountdownReward.Config(name="countdown"))


def puzzles(count: int, seed: int = 0) -> list[dict]:
    """Return puzzles of three numbers that add up to the target, so that each has a solution."""
    rng = Random(seed)
    drawn = [[rng.randint(1, 99) for _ in range(3)] for _ in range(count)]
    return [{"nums": nums, "target": sum(nums)} for nums in drawn]


@pytest.fixture
def solved(make):
    return lambda path, **settings: make("warmstart", source="countdown", puzzles=str(path), **settings)


def keys(split) -> set[str]:
    return {key(*asked(one.prompt[0]["content"])) for one in split.examples}


def test_a_solvers_answer_never_enters_a_prompt(make, write, solved) -> None:
    rows = puzzles(60)
    file = write(rows)
    plain = make("countdown", source=str(file))
    for takes in ((Completion,), (Prompt,)):
        for example in load(solved(file), takes, 0).train.examples:
            row = rows[int(example.id.partition("/")[2])]
            assert example.prompt == plain.example(row, "0").prompt
            assert "=" not in example.prompt[0]["content"]


def test_every_trace_solves_its_puzzle(write, solved, finished) -> None:
    rows = puzzles(60)
    for example in load(solved(write(rows)), (Completion,), 0).train.examples:
        [score] = REWARD.score([finished(example, rows[int(example.id.partition("/")[2])])])
        assert score.value == 1.0


@pytest.fixture
def finished():
    from rlpipe.engines.rollout import Finish, Rollout

    def make(example, columns):
        return Rollout(Prompt("0", [], columns), [], [], [], [], example.completion[0]["content"], Finish.stop)

    return make


def test_what_countdown_holds_out_is_not_trained_on(make, write, solved) -> None:
    file = write([*puzzles(200), *({**row, "nums": row["nums"][::-1]} for row in puzzles(20))])
    for seed in (0, 1):
        ours = load(solved(file, train_limit=80), (Completion,), seed)
        theirs = load(make("countdown", source=str(file)), (Prompt,), seed)
        held_out = {key(one.columns["nums"], one.columns["target"]) for one in theirs.test.examples}
        assert keys(ours.test) == held_out
        assert len(keys(ours.train)) == 80
        assert not keys(ours.train) & held_out


def test_a_test_split_of_puzzles_is_held_out_too(make, write, solved, tmp_path) -> None:
    write([*puzzles(30), *puzzles(5, seed=1)], "data/train.jsonl")
    write(puzzles(5, seed=1), "data/test.jsonl")
    ours = load(solved(tmp_path / "data", puzzles_test_split="test"), (Completion,), 0)
    assert (len(ours.train.examples), len(ours.test.examples)) == (30, 5)
    assert ours.train.report.dropped == {"stands in the test split too": 5}


def test_puzzles_that_are_not_solved_are_counted(write, solved) -> None:
    rows = [*puzzles(40), {"nums": [1, 1, 1], "target": 50}, {"nums": [2, 2], "target": 50}, {"nums": "1", "target": 1}]
    report = load(solved(write(rows)), (Completion,), 0).train.report
    assert report.dropped["the search finds no solution"] == 2
    assert report.dropped["nums is no list of whole numbers"] == 1
    assert "the traces are a solver's: made by search, not by a model" in report.notes


def test_what_is_wrong_with_puzzles_is_said(make, write, solved, tmp_path) -> None:
    assert data_problems(solved(write(puzzles(3)))) == []
    [problem] = data_problems(solved(write([{"query": "q", "completion": "c"}], "other.jsonl")))
    assert "needs the columns 'nums', 'target'" in problem.what
    assert [problem.where for problem in data_problems(solved("sample"))] == ["dataset.puzzles"]
    assert [problem.where for problem in data_problems(make("warmstart", puzzles="here"))] == ["dataset.puzzles"]
    assert [problem.where for problem in data_problems(make("warmstart", puzzles_test_split="test"))] == [
        "dataset.puzzles"
    ]
    assert [problem.where for problem in data_problems(solved(write(puzzles(3)), test_split="dev"))] == [
        "dataset.test_split"
    ]
    assert solved("hub").config.hub == "Jiayi-Pan/Countdown-Tasks-3to4"
    assert solved("hub", hub="mine/puzzles").config.hub == "mine/puzzles"
    with pytest.raises(DataError, match="no file or folder of that name"):
        load(solved(tmp_path / "missing"), (Completion,), 0)


def test_the_preset_takes_the_runs_own_puzzles_and_their_content_names_the_stage(write) -> None:
    file = write(puzzles(40), "my puzzles.jsonl")
    config = compose("method=rloo", "dataset=countdown", f"dataset.source='{file}'", "after=sft_warmstart_solver")
    before = compose(*config.after, "model=blank")
    assert resolve(before).dataset.config.source == str(file)
    first = data(before).train
    write(puzzles(41, seed=1), "my puzzles.jsonl")
    assert data(before).train != first


@pytest.mark.slow
def test_real_puzzles_are_solved(solved, shared_dir, finished) -> None:
    folder = shared_dir / "data" / "countdown"
    splits = load(solved(folder, train_limit=100, test_limit=10), (Completion,), 0)
    assert len(splits.train.examples) == 100
    assert "the search finds no solution" not in splits.train.report.dropped
    for example in splits.train.examples:
        nums, target = asked(example.prompt[0]["content"])
        assert REWARD.score([finished(example, {"nums": nums, "target": target})])[0].value == 1.0
