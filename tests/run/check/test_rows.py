"""Rows of local files are looked at in the check: what is wrong is said before a run starts, what is right passes."""

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
from rlpipe.methods.offline import Overlong
from rlpipe.run.check import rows
from rlpipe.run.check.check import problems
from rlpipe.run.check.subject import Subject

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


def found(path: Path, overrides: tuple[str, ...], **fields: object) -> list[Problem]:
    """Return what a check says of a run on a file, but for what it says of every toy on real rows.

    `fields` are the dataset's; composing takes most of the time, so they are put in afterwards.
    """
    chosen = ("model=blank", "dataset=files", "hardware.device=cpu", "dataset.source=here", *overrides)
    chosen += () if "method=none" in overrides else ("method.batch_size=8",)
    config = composed(*chosen)
    config = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, source=str(path), **fields))
    return [one for one in problems(config, chosen) if "meets those" not in one.what]


def fatal(path: Path, overrides: tuple[str, ...], **fields: object) -> list[Problem]:
    return [problem for problem in found(path, overrides, **fields) if problem.fatal]


def qa(count: int, **more: object) -> list[dict]:
    return [{"prompt": f"q{n}", "completion": f"answer {n}", **more} for n in range(count)]


def pairs(count: int) -> list[dict]:
    return [{"prompt": f"q{n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(count)]


def answers(count: int, answer: object = "{n}") -> list[dict]:
    return [{"prompt": f"q{n}", "answer": str(n) if answer == "{n}" else answer} for n in range(count)]


SFT, DPO, KTO = ({"overrides": (f"method={name}",)} for name in ("sft", "dpo", "kto"))
RLOO = {"overrides": ("method=rloo", "reward=gsm8k", "method.group_size=4")}
WRONG = [
    ("a torn line in the middle", [*qa(300), '{"prompt": "q', *qa(20)], SFT, r"train.jsonl, line 301: malformed JSON"),
    ("a row that is a list", [*qa(300), "[1]", *qa(20)], SFT, r"line 301: a row must be a JSON object"),
    ("a column that is null everywhere", qa(20, completion=None), SFT, r"nothing in column 'completion': 20"),
    ("a column that is empty everywhere", qa(20, completion=" "), SFT, r"empty completion: 20"),
    (
        "unknown roles everywhere",
        [{"messages": [{"role": "narrator", "content": f"q{n}"}]} for n in range(20)],
        SFT,
        r"a message of an unknown role: 20",
    ),
    ("ties only", [{**pair, "rejected": pair["chosen"]} for pair in pairs(20)], DPO, r"chosen == rejected: 20"),
    ("rows all alike", qa(1) * 20, SFT, r"repeats an earlier row: 19"),
    (
        "fewer usable rows than a batch",
        [*qa(6), *qa(20, completion=None)],
        SFT,
        r"method.batch_size: a batch needs 8 examples, and there are 5",
    ),
    ("answers without a number", answers(20, "many"), RLOO, r"no single number in column 'answer': 20"),
    ("answers that are null", answers(20, None), RLOO, r"nothing in column 'answer': 20"),
    ("labels of one kind", qa(20, label=True), KTO, r"the label is true in all \d+ rows"),
    (
        "a column map that leads nowhere",
        qa(20),
        SFT | {"columns": {"completion": "text"}},
        r"there is no column 'text'",
    ),
    (
        "a column map to unusable rows",
        qa(20, n=True),
        SFT | {"columns": {"completion": "n"}},
        r"neither text nor a list of messages: 20",
    ),
    ("rows of another form", qa(20), DPO, r"files holds completion examples, and dpo takes preference"),
]


@pytest.mark.parametrize(("lines", "chosen", "what"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_found_before_anything_starts(write: Write, lines, chosen, what: str) -> None:
    told = fatal(write(lines), **chosen)
    assert any(re.search(what, str(problem)) for problem in told), told
    assert all(problem.fix for problem in told)


RIGHT = [
    ("completions", qa(20), SFT),
    ("pairs", pairs(20), DPO),
    ("labels", [row for n in range(10) for row in qa(20, label=bool(n % 2))[n : n + 2]], KTO),
    (
        "labelled messages",
        [
            {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}], "label": n % 2}
            for n in range(20)
        ],
        KTO,
    ),
    (
        "ShareGPT",
        [
            {"conversations": [{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": f"a{n}"}]}
            for n in range(20)
        ],
        SFT,
    ),
    ("answers that are numbers", [{"prompt": f"q{n}", "answer": n} for n in range(20)], RLOO),
    ("answers with units", answers(20, "12 km"), RLOO),
    ("some answers that are null", [*answers(20), *answers(3, None)], RLOO),
    (
        "a first row that lacks a column",
        [
            {"prompt": "q", "completion": "a"},
            *qa(20, label=True),
            *qa(9, label=False)[:4],
            {"prompt": "z", "completion": "b", "label": False},
        ],
        KTO | {"deduplicate": False},
    ),
    (
        "columns called otherwise",
        [{"q": f"q{n}", "a": f"a{n}"} for n in range(20)],
        SFT | {"columns": {"prompt": "q", "completion": "a"}},
    ),
]


@pytest.mark.parametrize(("lines", "chosen"), [case[1:] for case in RIGHT], ids=[case[0] for case in RIGHT])
def test_what_is_right_passes(write: Write, lines, chosen) -> None:
    assert fatal(write(lines), **chosen) == []


def test_csv_with_units_is_read_as_questions_with_answers(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("question,answer\n" + "".join(f"How far is {n}?,{n} km\n" for n in range(20)))
    assert [str(one) for one in found(path, **RLOO) if one.fatal] == []
    assert "rows are taken as question and answer (columns question, answer)" in [
        one.what for one in found(path, **RLOO)
    ]


def test_many_rows_that_are_left_out_are_worth_a_word(write: Write) -> None:
    path = write([*qa(20), *qa(5, completion=None)])
    (note,) = found(path, **SFT)
    assert (note.what, note.fatal) == ("5 of 25 rows are left out (nothing in column 'completion': 5)", False)


@pytest.mark.parametrize(
    ("longest", "overlong", "said"),
    [(64, Overlong.drop, True), (512, Overlong.drop, False), (64, Overlong.truncate, False)],
)
def test_examples_that_are_all_too_long(write: Write, tmp_path: Path, longest, overlong, said) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    path = write([{"prompt": f"q{n}", "completion": "word " * 70} for n in range(20)])
    config = composed("model=blank", "dataset=files", "method=sft", "method.batch_size=8", "dataset.source=here")
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, source=str(tmp_path)),
        dataset=dataclasses.replace(config.dataset, source=str(path)),
        method=dataclasses.replace(config.method, max_length=longest, overlong=overlong),
    )
    told = [problem for problem in rows.rows(Subject(config)) if problem.fatal]
    assert ["even the shortest" in problem.what for problem in told] == [True] * said


def test_a_held_out_file_alone_is_enough_for_measuring(write: Write) -> None:
    path = write(qa(20), "test.jsonl").parent
    assert fatal(path, ("method=none", "evaluation=perplexity"), test_split="test") == []
    assert "no files of split 'train'" in fatal(path, **SFT, test_split="test")[0].what


@pytest.mark.parametrize("torn", [5, 2000, 3995])
def test_of_a_large_file_samples_are_looked_at_and_it_says_so(write: Write, monkeypatch, torn: int) -> None:
    from rlpipe.datasets import rows as reading

    monkeypatch.setattr(rows, "WHOLE", 10_000)
    monkeypatch.setattr(reading, "STRETCH", 20_000)
    lines: list = qa(4000)
    path = write(lines)
    (note,) = found(path, **SFT)
    assert "10 stretches from its beginning to its end were read" in note.what
    lines[torn] = '{"prompt":'
    told = fatal(write(lines), **SFT)
    assert ["malformed JSON" in problem.what for problem in told] == [True]


def test_a_check_reads_rows_once_however_many_arms_there_are(write: Write, monkeypatch) -> None:
    path = write(qa(30))
    fatal(path, **SFT)
    monkeypatch.setattr(rows, "load", None)
    assert fatal(path, ("method=sft", "method.learning_rate=1e-4", "seed=7")) == []
