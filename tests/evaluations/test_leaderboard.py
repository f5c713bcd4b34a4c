"""Responses to anybody's file of prompts, and the file that leaderboards take."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.config.resolved import resolve
from rlpipe.core.errors import DataError
from rlpipe.datasets.countdown import asked
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout, SamplingConfig
from rlpipe.evaluations import leaderboard, prompt_files
from rlpipe.evaluations.base import EvaluationContext
from rlpipe.evaluations.completions import complete, converse
from rlpipe.records.runs import find
from rlpipe.report.compare import compare
from rlpipe.run.check.check import problems
from rlpipe.run.evaluate import _change
from rlpipe.run.run import run
from tests.composed import compose


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(small_model, folder, *overrides: str) -> list[dict]:
    asked = ["model=hf", f"model.source={small_model}", "method=none", "evaluation=leaderboard", "log.progress=false"]
    asked += ["evaluation.leaderboard.sampling.max_tokens=6", "hardware.device=cpu", f"run_dir={folder}", *overrides]
    run(compose(*asked), asked)
    return [json.loads(line) for line in (folder / "leaderboard.jsonl").read_text().splitlines()]


def test_one_line_a_prompt_with_the_names_that_are_asked_for(small_model, tmp_path, capsys):
    (tmp_path / "prompts.json").write_text(json.dumps([{"instruction": "Say hi."}, {"instruction": "Say\nno."}]))
    names = ("evaluation.leaderboard.prompt_field=instruction", "evaluation.leaderboard.response_field=output")
    rows = written(small_model, tmp_path / "run", f"evaluation.leaderboard.file={tmp_path / 'prompts.json'}", *names)
    assert [list(row) for row in rows] == [["instruction", "output"]] * 2
    assert [row["instruction"] for row in rows] == ["Say hi.", "Say\nno."]
    assert all(row["output"] for row in rows)
    assert str(tmp_path / "run" / "leaderboard.jsonl") in capsys.readouterr().err
    kept = (tmp_path / "run" / "evaluations" / "leaderboard.before.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in kept] == ["prompts.json/0", "prompts.json/1"]


def test_two_turn_questions_are_answered_turn_by_turn(small_model, tmp_path):
    (tmp_path / "mt.jsonl").write_text(lines({"turns": ["Who?", "Why?"]}, {"turns": ["Where?"]}))
    two, one = written(small_model, tmp_path / "run", f"evaluation.leaderboard.file={tmp_path / 'mt.jsonl'}")
    assert two["prompt"] == ["Who?", "Why?"]
    assert len(two["response"]) == 2
    assert one["prompt"] == ["Where?"]
    assert isinstance(one["response"], str)


def test_a_later_turn_is_answered_with_all_that_was_said_before(blank_loaded):
    first = [{"role": "user", "content": "Who?"}]
    prompt = Prompt("p/0", first, {"turns": ["Why?"]})
    sampling = SamplingConfig(temperature=0.0, max_tokens=4)
    (answers,) = converse(blank_loaded, [prompt], sampling)
    whole = [*first, {"role": "assistant", "content": answers[0].text}, {"role": "user", "content": "Why?"}]
    ((alone,),) = complete(blank_loaded, [Prompt("x", whole)], sampling)
    assert answers[1].prompt_ids == alone.prompt_ids
    assert answers[1].ids == alone.ids


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "csv", "txt"])
def test_every_kind_of_file_holds_prompts(tmp_path, kind):
    texts = ["Say hi.", "Was heißt „nein“?"]
    file = tmp_path / f"prompts.{kind}"
    rows = [{"prompt": text, "more": 1} for text in texts]
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        text = {"json": json.dumps(rows), "jsonl": lines(*rows), "txt": "\n\n".join(texts)}.get(kind)
        file.write_text(text or "prompt,more\n" + "".join(f'"{one}",1\n' for one in texts), encoding="utf-8")
    found = prompt_files.read(str(file), None, None)
    assert [prompt.prompt for prompt in found] == [[{"role": "user", "content": text}] for text in texts]
    assert [prompt.id for prompt in found] == [f"prompts.{kind}/0", f"prompts.{kind}/1"]
    assert len(prompt_files.read(str(file), None, 1)) == 1


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1))
def test_any_text_comes_back_as_it_was(tmp_path_factory, texts):
    file = tmp_path_factory.mktemp("texts") / "p.jsonl"
    file.write_text(lines(*({"question": text} for text in texts)), encoding="utf-8")
    assert [prompt.columns["given"] for prompt in prompt_files.read(str(file), None, None)] == texts


def test_messages_and_a_named_field(tmp_path):
    file = tmp_path / "p.jsonl"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    file.write_text(lines({"prompt": "not this", "chat": messages}))
    (found,) = prompt_files.read(str(file), "chat", None)
    assert found.prompt == messages


def test_sharegpts_turns_and_parts_are_messages(tmp_path):
    file = tmp_path / "p.jsonl"
    parts = [{"type": "text", "text": "Who"}, {"type": "text", "text": "?"}]
    file.write_text(
        lines({"prompt": [{"from": "human", "value": "Who?"}]}, {"prompt": [{"role": "user", "content": parts}]})
    )
    assert [prompt.prompt for prompt in prompt_files.read(str(file), None, None)] == [
        [{"role": "user", "content": "Who?"}]
    ] * 2


@pytest.mark.parametrize(
    "value", [None, "", 7, [], ["a", ""], [{"role": "assistant", "content": "I"}], [{"x": 1}], "half \ud800"]
)
def test_a_row_that_is_no_prompt_is_named(tmp_path, value):
    file = tmp_path / "p.jsonl"
    file.write_text(lines({"prompt": "fine"}, {"prompt": value}))
    with pytest.raises(DataError, match="row 2: its 'prompt' is no prompt"):
        prompt_files.read(str(file), None, None)


@pytest.mark.parametrize(
    ("content", "overrides", "words"),
    [
        (None, [], "no such file"),
        ("", [], "holds no"),
        (lines({"a": 1}), [], "none of its fields (a)"),
        (lines({"prompt": "a"}), ["evaluation.leaderboard.field=promt"], "no field 'promt'"),
        (lines({"prompt": "a"}), ["evaluation.leaderboard.response_field=prompt"], "two names"),
    ],
)
def test_what_cannot_work_is_found_before_anything_starts(tmp_path, content, overrides, words):
    file = tmp_path / "p.jsonl"
    if content is not None:
        file.write_text(content)
    asked = ["model=blank", "method=none", "evaluation=leaderboard", f"evaluation.leaderboard.file={file}", *overrides]
    (found,) = [problem for problem in problems(compose(*asked), asked) if problem.fatal]
    assert found.where.startswith("evaluation.leaderboard.")
    assert words in found.what


def test_a_field_needs_a_file():
    (found,) = prompt_files.problems(None, "prompt")
    assert found.where == "field"


PUZZLES = [{"num": [44, 19, 35], "target": 98, "more": 1}, {"num": [1, 2], "target": 3}]


class Says:
    """Responses in place of a model's, in turn."""

    def __init__(self, *texts: str):
        self.texts = iter(texts)

    def __call__(self, loaded, prompts, *rest, **more):
        return [[Rollout(prompt, [1], [2], [0.0], [True], next(self.texts), Finish.stop)] for prompt in prompts]


def answered(monkeypatch, blank_loaded, folder, file, *texts: str):
    """Measure a file with these responses; returns the rows and their summary, once the files are written."""
    asked = ("model=blank", "method=none", "dataset=countdown", "evaluation=leaderboard", f"run_dir={folder}")
    config = compose(*asked, f"evaluation.leaderboard.file='{file}'")
    one = resolve(config).evaluation("leaderboard")
    one.start(EvaluationContext(config, folder, "leaderboard"))
    monkeypatch.setattr(leaderboard, "converse", Says(*texts))
    rows = one.rows(blank_loaded, one.make_examples())
    one.finish(rows, "before")
    return rows, one.summary(rows, None), one.protocol(blank_loaded)


def test_puzzles_are_asked_as_countdown_asks_and_scored(monkeypatch, blank_loaded, tmp_path):
    (tmp_path / "puzzles.json").write_text(json.dumps(PUZZLES))
    right, wrong = "<answer>44 + (19 + 35)</answer>", "<answer>1 - 2</answer>"
    rows, numbers, protocol = answered(monkeypatch, blank_loaded, tmp_path, tmp_path / "puzzles.json", right, wrong)
    written = [json.loads(line) for line in (tmp_path / "leaderboard.jsonl").read_text().splitlines()]
    assert written == [
        {"num": [44, 19, 35], "target": 98, "response": right, "score": 1.0},
        {"num": [1, 2], "target": 3, "response": wrong, "score": 0.1},
    ]
    assert [row["score"] for row in rows] == [1.0, 0.1]
    assert rows[0]["prompt"].endswith("Use [44, 19, 35] to make 98.")  # as the run's own dataset words it
    assert numbers.items() >= {"responses": 2, "score": 0.55, "solved": 0.5, "unparsed": 0}.items()
    assert protocol["verifier"] == {"name": "countdown", "format_score": 0.1}


def test_puzzles_of_other_runs_are_worded_as_the_warm_start(tmp_path):
    (tmp_path / "p.jsonl").write_text(lines({"nums": [3, 5], "target": 8}))
    (prompt,) = prompt_files.read(str(tmp_path / "p.jsonl"), None, None)
    assert asked(prompt.prompt[0]["content"]) == ([3, 5], 8)
    assert prompt.columns == {"nums": [3, 5], "target": 8, "given": {"nums": [3, 5], "target": 8}}


def test_a_folder_of_files_has_a_file_of_responses_each(monkeypatch, blank_loaded, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "easy.json").write_text(json.dumps(PUZZLES[1:]))
    (folder / "hard.jsonl").write_text(lines(*PUZZLES[:1], PUZZLES[0]))
    (folder / "talk.txt").write_text("Say hi.\n")
    (folder / "notes.md").write_text("not a prompt")
    said = ["<answer>1 + 2</answer>", "98", "<answer>98</answer>", "Hi."]
    rows, numbers, _ = answered(monkeypatch, blank_loaded, tmp_path, folder, *said)
    written = {file.name: len(file.read_text().splitlines()) for file in (tmp_path / "leaderboard").iterdir()}
    assert written == {"easy.jsonl": 1, "hard.jsonl": 2, "talk.jsonl": 1}
    assert json.loads((tmp_path / "leaderboard" / "talk.jsonl").read_text()) == {"prompt": "Say hi.", "response": "Hi."}
    assert [row["id"] for row in rows] == ["easy.json/0", "hard.jsonl/0", "hard.jsonl/1", "talk.txt/0"]
    assert [row.get("score") for row in rows] == [1.0, 0.0, 0.1, None]
    assert (numbers["easy/score"], numbers["hard/score"], numbers["unparsed"]) == (1.0, 0.05, 1 / 3)
    assert _change("leaderboard", rows, rows) == {"score": 0.0}


@pytest.mark.slow
def test_the_report_ranks_runs_by_their_puzzles(monkeypatch, small_model, tmp_path):
    (tmp_path / "p.jsonl").write_text(lines(*PUZZLES))
    for dataset, last in (("gsm8k", "<answer>1</answer>"), ("piqa", "<answer>1 + 2</answer>")):
        monkeypatch.setattr(leaderboard, "converse", Says("<answer>44 + 19 + 35</answer>", last))
        overrides = (f"evaluation.leaderboard.file={tmp_path / 'p.jsonl'}", f"dataset={dataset}")
        written(small_model, tmp_path / dataset, *overrides)
    [found] = compare(find([tmp_path / "gsm8k", tmp_path / "piqa"])).evaluations
    assert (found.name, found.score) == ("leaderboard", "score")
    [difference] = found.differences
    assert (difference.value, difference.examples) == (pytest.approx(0.45), 2)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no files of prompts"),
        ({"notes.md": "x"}, "holds no files of prompts"),
        ({"a.json": "[]", "a.txt": "x"}, "several of the folder's files are called 'a'"),
        ({"a.txt": "x", "b.jsonl": lines({"num": [1]})}, "none of its fields (num)"),
        ({"a.jsonl": lines({"target": 1})}, "none of its fields (target)"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (found,) = prompt_files.problems(str(tmp_path), None)
    assert (found.where, words in found.what) == ("file", True)


@pytest.mark.parametrize(
    "row", [{"num": "1, 2", "target": 3}, {"num": [1, 2], "target": "3"}, {"num": [], "target": 3}]
)
def test_a_row_that_is_no_puzzle_is_named(tmp_path, row):
    (tmp_path / "p.jsonl").write_text(lines(PUZZLES[0], row))
    with pytest.raises(DataError, match=r"p\.jsonl, row 2: no Countdown puzzle: "):
        prompt_files.read(str(tmp_path / "p.jsonl"), None, None)
