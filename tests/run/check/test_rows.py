"""Rows of local files are looked at in the check: what is wrong is said before anything starts, and what is right passes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from rlpipe.config.compose import compose
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import Problem
from rlpipe.run.check import rows
from rlpipe.run.check.check import problems

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(lines: list, name: str = "train.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    return save


@cache
def composed(*overrides: str) -> RunConfig:
    return compose(*overrides)


def found(path: Path, *overrides: str) -> list[Problem]:
    """Return what a check says of a run on a file, but for what it says of every toy on real rows."""
    small = "method.batch_size=8"
    chosen = ("model=blank", "dataset=files", "hardware.device=cpu", "dataset.source=here", small, *overrides)
    config = composed(*chosen)
    config = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, source=str(path)))
    return [one for one in problems(config, chosen) if "meets those" not in one.what]


def fatal(path: Path, *overrides: str) -> list[Problem]:
    return [problem for problem in found(path, *overrides) if problem.fatal]


def qa(count: int, **more: object) -> list[dict]:
    return [{"prompt": f"q{n}", "completion": f"answer {n}", **more} for n in range(count)]


def pairs(count: int) -> list[dict]:
    return [{"prompt": f"q{n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(count)]


def answers(count: int, answer: object = "{n}") -> list[dict]:
    return [{"prompt": f"q{n}", "answer": str(n) if answer == "{n}" else answer} for n in range(count)]


RLOO = ("method=rloo", "reward=gsm8k", "method.group_size=4")
WRONG = [
    ("a torn line in the middle", [*qa(300), '{"prompt": "q', *qa(20)], ("method=sft",), r"train.jsonl, line 301: malformed JSON"),
    ("a row that is a list", [*qa(300), "[1]", *qa(20)], ("method=sft",), r"line 301: a row must be a JSON object"),
    ("a column that is null everywhere", qa(20, completion=None), ("method=sft",), r"nothing in column 'completion': 20"),
    ("a column that is empty everywhere", qa(20, completion=" "), ("method=sft",), r"empty completion: 20"),
    ("unknown roles everywhere", [{"messages": [{"role": "narrator", "content": f"q{n}"}]} for n in range(20)], ("method=sft",), r"a message of an unknown role: 20"),
    ("ties only", [{**pair, "rejected": pair["chosen"]} for pair in pairs(20)], ("method=dpo",), r"chosen == rejected: 20"),
    ("rows all alike", qa(1) * 20, ("method=sft",), r"repeats an earlier row: 19"),
    ("fewer usable rows than a batch", [*qa(6), *qa(20, completion=None)], ("method=sft",), r"method.batch_size: a batch needs 8 examples, and there are 5"),
    ("answers without a number", answers(20, "many"), RLOO, r"no single number in column 'answer': 20"),
    ("answers that are null", answers(20, None), RLOO, r"nothing in column 'answer': 20"),
    ("labels of one kind", qa(20, label=True), ("method=kto",), r"the label is true in all \d+ rows"),
    ("a column map that leads nowhere", qa(20), ("method=sft", "+dataset.columns.completion=text"), r"there is no column 'text'"),
    ("a column map to unusable rows", qa(20, n=True), ("method=sft", "+dataset.columns.completion=n"), r"neither text nor a list of messages: 20"),
    ("rows of another form", qa(20), ("method=dpo",), r"files holds completion examples, and dpo takes preference"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "overrides", "what"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_found_before_anything_starts(write: Write, lines, overrides, what: str) -> None:
    told = fatal(write(lines), *overrides)
    assert any(re.search(what, str(problem)) for problem in told), told
    assert all(problem.fix for problem in told)


RIGHT = [
    ("completions", qa(20), ("method=sft",)),
    ("pairs", pairs(20), ("method=dpo",)),
    ("labels", [row for n in range(10) for row in qa(20, label=bool(n % 2))[n : n + 2]], ("method=kto",)),
    ("labelled messages", [{"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}], "label": n % 2} for n in range(20)], ("method=kto",)),
    ("ShareGPT", [{"conversations": [{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": f"a{n}"}]} for n in range(20)], ("method=sft",)),
    ("answers that are numbers", [{"prompt": f"q{n}", "answer": n} for n in range(20)], RLOO),
    ("answers with units", answers(20, "12 km"), RLOO),
    ("some answers that are null", [*answers(20), *answers(3, None)], RLOO),
    ("a first row that lacks a column", [{"prompt": "q", "completion": "a"}, *qa(20, label=True), *qa(9, label=False)[:4], {"prompt": "z", "completion": "b", "label": False}], ("method=kto", "dataset.deduplicate=false")),
    ("columns called otherwise", [{"q": f"q{n}", "a": f"a{n}"} for n in range(20)], ("method=sft", "+dataset.columns={prompt: q, completion: a}")),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "overrides"), [case[1:] for case in RIGHT], ids=[case[0] for case in RIGHT])
def test_what_is_right_passes(write: Write, lines, overrides) -> None:
    assert fatal(write(lines), *overrides) == []


def test_csv_with_units_is_read_as_questions_with_answers(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("question,answer\n" + "".join(f"How far is {n}?,{n} km\n" for n in range(20)))
    assert [str(one) for one in found(path, *RLOO) if one.fatal] == []
    assert "rows are taken as question and answer (columns question, answer)" in [
        one.what for one in found(path, *RLOO)
    ]


def test_many_rows_that_are_left_out_are_worth_a_word(write: Write) -> None:
    path = write([*qa(20), *qa(5, completion=None)])
    (note,) = found(path, "method=sft")
    assert (note.what, note.fatal) == ("5 of 25 rows are left out (nothing in column 'completion': 5)", False)


def test_examples_that_are_all_too_long(write: Write, tmp_path: Path, small_model: Path) -> None:
    path = write([{"prompt": f"q{n}", "completion": "word " * 50} for n in range(20)])
    model = (f"model.source='{small_model}'", "model.name=pretrained", "model=hf", "method=sft")
    told = fatal(path, *model, "method.max_length=64")
    assert ["even the shortest" in problem.what for problem in told] == [True]
    assert fatal(path, *model, "method.max_length=512") == []
    assert fatal(path, *model, "method.max_length=64", "method.overlong=truncate") == []


def test_a_held_out_file_alone_is_enough_for_measuring(write: Write) -> None:
    path = write(qa(20), "test.jsonl").parent
    measured = ("method=none", "dataset.test_split=test", "evaluation=perplexity")
    assert fatal(path, *measured) == []
    assert "no files of split 'train'" in fatal(path, "method=sft", "dataset.test_split=test")[0].what


@pytest.mark.parametrize("torn", [5, 2000, 3995])
def test_of_a_large_file_samples_are_looked_at_and_it_says_so(write: Write, monkeypatch, torn: int) -> None:
    from rlpipe.datasets import rows as reading

    monkeypatch.setattr(rows, "WHOLE", 10_000)
    monkeypatch.setattr(reading, "STRETCH", 20_000)
    lines: list = qa(4000)
    path = write(lines)
    (note,) = found(path, "method=sft")
    assert "10 stretches from its beginning to its end were read" in note.what
    lines[torn] = '{"prompt":'
    told = fatal(write(lines), "method=sft")
    assert ["malformed JSON" in problem.what for problem in told] == [True]


def test_a_check_reads_rows_once_however_many_arms_there_are(write: Write, monkeypatch) -> None:
    path = write(qa(30))
    fatal(path, "method=sft")
    monkeypatch.setattr(rows, "load", None)
    assert fatal(path, "method=sft", "method.learning_rate=1e-4", "seed=7") == []
