"""The sample generators: always the same rows, never one in both splits, and right by construction."""

from __future__ import annotations

import ast
import re
from collections import Counter
from random import Random

import pytest

from rlpipe.core.errors import DataError
from rlpipe.datasets.forms import Chat, content
from rlpipe.datasets.load import load
from rlpipe.datasets.samples import countdown, warmstart

NAMES = ("smoltalk", "ultrafeedback", "warmstart", "countdown", "gsm8k", "piqa")


def value(expression: str) -> float:
    """Work an expression of whole numbers out."""

    def walk(node: ast.AST) -> float:
        match node:
            case ast.Expression(body=body):
                return walk(body)
            case ast.Constant(value=int() as number):
                return number
            case ast.BinOp(left=left, op=op, right=right):
                a, b = walk(left), walk(right)
                return {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b, ast.Div: a / b if b else float("nan")}[
                    type(op)
                ]
        raise ValueError(expression)

    return walk(ast.parse(expression, mode="eval"))


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_always_the_same_for_a_seed(make, name: str) -> None:
    dataset = make(name)
    first = list(dataset.sample("train", 50, 0))
    assert first == list(dataset.sample("train", 50, 0))
    assert first != list(dataset.sample("train", 50, 1))
    assert first == list(dataset.sample("train", 100, 0))[:50]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_row_is_in_both_splits_and_few_are_dropped(make, name: str) -> None:
    dataset = make(name, test_limit=None)
    splits = load(dataset, (dataset.form,), 0)
    train, test = ({dataset.key(example) for example in split.examples} for split in (splits.train, splits.test))
    assert not train & test
    assert len(train) >= 0.995 * dataset.config.sample_size
    assert len(test) >= 0.98 * dataset.config.sample_size // 8
    assert splits.train.report.source == "sample"
    dataset.config.deduplicate = False
    assert "stands in the test split" not in str(load(dataset, (dataset.form,), 0).train.report.notes)


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_depend_on_the_runs_seed(make, name: str) -> None:
    dataset = make(name, sample_size=40)
    assert load(dataset, (dataset.form,), 0).train.examples == load(dataset, (dataset.form,), 1).train.examples


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_the_hubs_columns_and_are_short(make, name: str) -> None:
    dataset = make(name)
    for row in dataset.sample("train", 300, 0):
        assert set(dataset.columns) <= set(row)
        example = dataset.example(row, "train/0")
        for messages in vars(example).values():
            if isinstance(messages, list) and messages and isinstance(messages[0], dict):
                assert all(1 <= len(message["content"]) <= 160 for message in messages)


@pytest.mark.slow
def test_a_generator_that_has_no_more_rows_says_so(make) -> None:
    dataset = make("piqa", sample_size=200_000)
    with pytest.raises(
        DataError, match=r"dataset\.sample_size: the generator of piqa has only about \d+ different train"
    ):
        load(dataset, (dataset.form,), 0)


def test_traces_solve_their_puzzle_with_each_number_once() -> None:
    verdicts = Counter()
    for row in warmstart.rows("train", 500, 0):
        numbers, target = re.match(r"Use \[(.*?)\] to make (\d+)\.", row["query"]).groups()
        thought, answer = re.fullmatch(
            r"<think>\n(.*)\n</think>\n<answer> (.*) </answer>", row["completion"], re.S
        ).groups()
        assert value(answer) == int(target)
        assert re.findall(r"\d+", answer) == numbers.split(", ")
        for line in thought.splitlines():
            work, verdict = re.fullmatch(r"(.*) (yes|no)", line).groups()
            sides = work.split("=")
            assert len({value(side) for side in sides}) == 1, line
            assert (verdict == "yes") == (value(sides[0]) == int(target))
            verdicts[verdict] += 1
        assert thought.endswith(" yes")
        assert len(row["completion"]) <= 150
    assert verdicts["no"] > 50


@pytest.mark.slow
def test_one_puzzle_may_have_several_traces_but_no_trace_comes_twice() -> None:
    rows = list(warmstart.rows("train", 8000, 0))
    traces = {(row["query"], row["completion"]) for row in rows}
    assert len(traces) == len(rows) == 8000
    assert 1000 < len({row["query"] for row in rows}) < 7000


def test_products_stand_first_so_that_no_brackets_are_needed() -> None:
    lines = {countdown.line(Random(seed), [2, 3, 4, 5]) for seed in range(800)} - {None}
    assert {"2*3*4+5", "2*3+4+5", "2+3+4-5"} <= {one.expression for one in lines}
    for one in lines:
        assert {value(side) for side in one.work.split("=")} == {one.value}


def test_traces_and_puzzles_ask_alike_and_split_alike(make) -> None:
    asked = make("countdown").example({"nums": [3, 5], "target": 8}, "train/0").prompt[0]["content"]
    assert asked == countdown.Puzzle([3, 5], 8, countdown.Line("3+5", 8, ("3+5",))).question
    tested = {make("countdown").key(one) for one in load(make("countdown"), (make("countdown").form,), 0).test.examples}
    trained = set()
    for row in warmstart.rows("train", 2000, 0):
        numbers, target = re.match(r"Use \[(.*?)\] to make (\d+)\.", row["query"]).groups()
        trained.add(f"{sorted(int(number) for number in numbers.split(', '))} {target}")
    assert not trained & tested


def test_word_problems_are_worked_out_right(make) -> None:
    for row in make("gsm8k").sample("train", 500, 0):
        works = re.findall(r"<<(.*?)=(\d+)>>(\d+)", row["answer"])
        assert works
        assert all(value(work) == int(result) == int(shown) for work, result, shown in works)
        assert row["answer"].endswith(f"\n#### {works[-1][1]}")


def test_pairs_fail_in_many_ways_and_not_by_length_alone(make) -> None:
    rows = list(make("ultrafeedback").sample("train", 1000, 0))
    assert len({row["score_rejected"] for row in rows}) >= 6
    lengths = [len(row["chosen"][1]["content"]) - len(row["rejected"][1]["content"]) for row in rows]
    assert 0.1 < sum(length <= 0 for length in lengths) / len(lengths) < 0.5
    assert all(row["chosen"][0] == row["rejected"][0] == {"role": "user", "content": row["prompt"]} for row in rows)
    assert all(row["score_chosen"] > row["score_rejected"] for row in rows)


def test_right_solutions_stand_first_and_second(make) -> None:
    labels = [row["label"] for row in make("piqa").sample("train", 500, 0)]
    assert 200 < sum(labels) < 300


def test_the_mixture_holds_all_parts_and_keeps_their_splits(make) -> None:
    mixture = load(make("mixture", sample_size=80, test_limit=20), (Chat,), 0)
    counts = Counter(example.id.partition("/")[0] for example in mixture.train.examples)
    assert set(counts) == {"smoltalk", "ultrafeedback", "warmstart", "gsm8k", "piqa"}
    assert min(counts.values()) >= 60
    assert Counter(example.id.partition("/")[0] for example in mixture.test.examples) == dict.fromkeys(counts, 4)
    trained = {content(example) for example in mixture.train.examples}
    assert not trained & {content(example) for example in mixture.test.examples}
    assert any(note.startswith("smoltalk: 80 train rows, 0 dropped") for note in mixture.train.report.notes)


def test_a_share_of_a_part(make) -> None:
    mixture = load(make("mixture", sample_size=80, parts={"smoltalk": 0.25, "gsm8k": 1.0}), (Chat,), 0)
    counts = Counter(example.id.partition("/")[0] for example in mixture.train.examples)
    assert counts == {"smoltalk": 20, "gsm8k": 80}


def test_impossible_mixtures_are_named(make) -> None:
    parts = {"smoltalk": 2.0, "smaltalk": 1.0, "countdown": 1.0}
    problems = make("mixture", parts=parts, source="/tmp").problems()
    assert [problem.where for problem in problems] == [
        "dataset.source", "dataset.parts.smaltalk", "dataset.parts.countdown"
    ]  # fmt: skip
    assert "did you mean 'smoltalk'" in problems[1].fix
